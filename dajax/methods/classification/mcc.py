"""MCC, minimum class confusion (Jin et al., ECCV 2020), and its rivals on the same matrix of
target probabilities, by config.term: BNM (Cui et al., CVPR 2020), FBNM and BFM.

    min  CE(source) + weight * term(logits of the target)

"confusion" is MCC; "nuclear_norm" BNM; "fast_nuclear_norm" FBNM, the choice on accelerators, where
a singular value decomposition is slow; "frobenius_norm" BFM.
"""

from dajax.losses import class_confusion as losses
from dajax.methods.classification import _two_batch_step as two_batches
from dajax.parallel import gather, share
from dajax.settings import check_unread, choice

TASK = "classification"
TERMS = {
    "confusion": ("temperature",),
    "nuclear_norm": (),
    "fast_nuclear_norm": (),
    "frobenius_norm": (),
}

plan = two_batches.plan


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown config.term, or a temperature that it does not read.
    """
    choice(config, "term", TERMS)
    check_unread(config, "term", TERMS, {"temperature": 1.0})
    return two_batches.initial_state(rng, images, config=config, model=model)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step on CE + weight * the term of the whole target batch; batch as two_batches.step."""
    mask = gather(batch["target"]["mask"], axis_name)

    def align(_params, batch_stats, _source, target):
        logits = gather(target.logits, axis_name)
        if config.term == "confusion":
            value = losses.minimum_class_confusion(logits, mask, config.temperature)
        else:
            value = getattr(losses, config.term)(logits, mask)
        return share(value, axis_name), {}, batch_stats

    return two_batches.step(
        state, batch, rng, align, config=config, model=model, axis_name=axis_name
    )
