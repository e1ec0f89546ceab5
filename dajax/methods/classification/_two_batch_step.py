"""What the methods share that align a labelled source batch with a target batch at every step:
DANN, DAN, JAN, CDAN, MCD, Deep CORAL, MCC, MDD, AFN.
"""

import jax
import jax.numpy as jnp

from dajax.losses.classification import cross_entropy
from dajax.losses.domain_adversarial import (
    domain_losses,
    reversal_coefficient,
    reverse_gradient,
)
from dajax.losses.mmd import STATISTICS, can_mmd
from dajax.methods import _step
from dajax.models.apply import (
    discriminate_domains,
    feature_width,
    forward_train,
    init_domain_discriminator,
    init_network,
    split_rng,
)
from dajax.models.classifier import Output
from dajax.parallel import gather, masked_mean, row_numbers, share
from dajax.settings import SettingError, choice

DISCRIMINATOR = "discriminator"
KERNELS = ("tllib", "can")


def plan(_state, *, data, config):
    """A shuffled batch of labelled source images and one of as many target images."""
    return {
        "source": data.shuffled("source", config.batch_size),
        "target": data.shuffled("target", config.batch_size),
    }


def initial_networks(rng, images, *, config, model):
    """Fresh (params, batch_stats) of the classifier, and the width of its features.

    Raises:
      UserError: one joint pass was asked of a network that normalises the domains apart.
    """
    if "joint_pass" in config and config.joint_pass and config.target_bn:
        raise SettingError(
            "joint_pass",
            True,
            "puts both domains through one set of normalisation statistics: set target_bn=0, or"
            " joint_pass=False",
        )
    params, batch_stats = init_network(rng, images, model=model)
    return params, batch_stats, feature_width(model, params, batch_stats, images)


def initial_state(rng, images, *, config, model, discriminator_inputs=None):
    """TrainState at step 0 of the classifier and, where asked for, a domain discriminator.

    Args:
      discriminator_inputs: f(width of the features) -> inputs of the discriminator, or None for no
        discriminator.
    """
    params, batch_stats, width = initial_networks(rng, images, config=config, model=model)
    if discriminator_inputs is not None:
        own = init_domain_discriminator(
            jax.random.fold_in(rng, 1),
            width=config.discriminator_width,
            num_inputs=discriminator_inputs(width),
        )
        params[DISCRIMINATOR], batch_stats[DISCRIMINATOR] = own
    return _step.initial_state(params, batch_stats, config=config, model=model)


def init_with_kernels(rng, images, *, config, model, **_):
    """See interface.py; of the methods whose loss is `kernel_step`'s.

    Raises:
      UserError: unknown config.kernel or config.statistic.
    """
    choice(config, "kernel", KERNELS)
    choice(config, "statistic", STATISTICS)
    return initial_state(rng, images, config=config, model=model)


def joint_rows(count, axis_name):
    """int32 [2 count]: numbers for dropout of this device's source rows and then its target rows.

    None stands there twice in the whole batch, whatever the number of devices.
    """
    rows = 2 * row_numbers(count, axis_name)
    return jnp.concatenate([rows, rows + 1])


def forward_both(model, params, batch_stats, batch, rng, *, config, axis_name):
    """Both domains through the classifier: (source Output, target Output, batch_stats).

    With config.joint_pass in one batch, which shares its normalisation statistics; else the source
    first, then the target, each with its own.
    """
    source, target = batch["source"], batch["target"]
    if not config.joint_pass:
        outputs = []
        norm_sets = _step.SOURCE_NORM_SET, config.target_bn
        for i, (part, norm_set) in enumerate(zip((source, target), norm_sets, strict=True)):
            output, batch_stats = forward_train(
                model,
                params,
                batch_stats,
                part,
                norm_set=norm_set,
                axis_name=axis_name,
                rng=split_rng(rng, i),
            )
            outputs.append(output)
        return *outputs, batch_stats
    both = {key: jnp.concatenate([source[key], target[key]]) for key in ("image", "mask")}
    count = len(source["mask"])
    rows = joint_rows(count, axis_name)
    output, batch_stats = forward_train(
        model,
        params,
        batch_stats,
        both,
        norm_set=_step.SOURCE_NORM_SET,
        axis_name=axis_name,
        rng=rng,
        rows=rows,
    )
    return Output(*(x[:count] for x in output)), Output(*(x[count:] for x in output)), batch_stats


def step(state, batch, rng, align, *, config, model, axis_name):
    """One step on the source's cross-entropy + config.weight * what `align` makes of both outputs.

    Args:
      batch: "source" with image [N, H, W, C], label int32 [N], mask bool [N]; "target" with image
        and mask.
      align: (params, batch_stats, source Output, target Output) -> (this device's share of the
        loss, {name: share}, batch_stats).
    """

    def loss_fn(params):
        source_output, target_output, batch_stats = forward_both(
            model, params, state.batch_stats, batch, rng, config=config, axis_name=axis_name
        )
        ce = masked_mean(
            cross_entropy(source_output.logits, batch["source"]["label"]),
            batch["source"]["mask"],
            axis_name,
        )
        alignment, terms, batch_stats = align(params, batch_stats, source_output, target_output)
        loss = ce + config.weight * alignment
        return loss, ({"loss": loss, "ce": ce, "alignment": alignment} | terms, batch_stats)

    (_, (terms, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return _step.finish(
        state, grads, batch_stats, terms, config=config, model=model, axis_name=axis_name
    )


def judge_domains(params, batch_stats, features, masks, step_number, *, config, axis_name):
    """The discriminator on both domains' features, behind the gradient reversal, in one batch.

    Args:
      features: (source, target) float32 [N, D]; masks: (source, target) bool [N].
      step_number: of the schedule of the reversal; 0 lets no gradient through.

    Returns:
      losses float32 [2 N], unreduced; {"domain_accuracy": per cent, this device's share};
        batch_stats. Source rows come first.
    """
    coefficient = reversal_coefficient(step_number, **config.reversal)
    reversed_features = reverse_gradient(jnp.concatenate(features), coefficient)
    logits, moved = discriminate_domains(
        params[DISCRIMINATOR],
        batch_stats[DISCRIMINATOR],
        reversed_features,
        jnp.concatenate(masks),
        width=config.discriminator_width,
        axis_name=axis_name,
    )
    is_source = jnp.arange(len(logits)) < len(masks[0])
    right = ((logits > 0) == is_source).astype(jnp.float32)
    accuracy = 50.0 * sum(
        masked_mean(part, mask, axis_name)
        for part, mask in zip(jnp.split(right, [len(masks[0])]), masks, strict=True)
    )
    return (
        domain_losses(logits, is_source),
        {"domain_accuracy": accuracy},
        {**batch_stats, DISCRIMINATOR: moved},
    )


def kernel_step(state, batch, rng, own_discrepancy, *, joint, config, model, axis_name):
    """`step` on a kernel discrepancy between the gathered batches of both domains.

    Args:
      own_discrepancy: (source Output, target Output, source mask, target mask) of the whole batch
        -> float scalar; read with config.kernel="tllib".
      joint: for config.kernel="can", whether the kernels of features and probabilities are
        multiplied.
    """
    masks = [gather(batch[domain]["mask"], axis_name) for domain in ("source", "target")]

    def align(params, batch_stats, source, target):
        del params
        whole = [Output(*(gather(x, axis_name) for x in output)) for output in (source, target)]
        if config.kernel == "can":
            layers = [(output.features, jax.nn.softmax(output.logits)) for output in whole]
            # config.py of CAN's code, MMD
            value = can_mmd(*layers, *masks, kernel_num=(5, 5), kernel_mul=(2.0, 2.0), joint=joint)
        else:
            value = own_discrepancy(*whole, *masks)
        return share(value, axis_name), {}, batch_stats

    return step(state, batch, rng, align, config=config, model=model, axis_name=axis_name)
