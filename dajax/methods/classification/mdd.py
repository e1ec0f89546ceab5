"""MDD, margin disparity discrepancy (Zhang et al., ICML 2019): an adversary beside the classifier
is to agree with it on the source and to differ on the target; the features keep it from differing.

    min  CE(h(source)) + weight * ( source_weight * CE(h'(source), y_s) - log(1 - p'(target)[y_t]) )

y = argmax h, without a gradient. The adversary h' stands behind a gradient reversal, so that one
minimisation does both; it reaches the features alone, rising from `low` to `high` with the steps.
The authors' code counts evaluation's passes as steps of that rise too; here only training's count.
"""

from dajax.losses.domain_adversarial import reversal_coefficient, reverse_gradient
from dajax.losses.margin_disparity import source_disparity, target_disparity
from dajax.methods import _step
from dajax.methods.classification import _two_batch_step as alignment
from dajax.methods.classification import _two_heads as two_heads
from dajax.models.apply import split_rng
from dajax.parallel import masked_mean

TASK = "classification"
ADVERSARY_RNG = 2  # alignment.forward_both has the numbers before it

plan = alignment.plan


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: classifier; second_head, the adversary, is shaped as its head."""
    params, batch_stats = two_heads.initial_networks(rng, images, config=config, model=model)
    return _step.initial_state(params, batch_stats, config=config, model=model)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the classifier and of the adversary; batch as alignment.step takes it."""
    masks = batch["source"]["mask"], batch["target"]["mask"]
    coefficient = reversal_coefficient(state.step, **config.reversal)

    def align(params, batch_stats, source, target):
        (of_source, of_target), batch_stats = two_heads.second_logits(
            params,
            batch_stats,
            [reverse_gradient(output.features, coefficient) for output in (source, target)],
            masks,
            split_rng(rng, ADVERSARY_RNG),
            config=config,
            model=model,
            axis_name=axis_name,
        )
        on_source = masked_mean(source_disparity(of_source, source.logits), masks[0], axis_name)
        on_target = masked_mean(
            target_disparity(of_target, target.logits, config.log_floor), masks[1], axis_name
        )
        terms = {"source_disparity": on_source, "target_disparity": on_target}
        return config.source_weight * on_source + on_target, terms, batch_stats

    return alignment.step(state, batch, rng, align, config=config, model=model, axis_name=axis_name)
