"""AFN, adaptive feature norm (Xu et al., ICCV 2019): the features of both domains are enlarged.

    min  CE(source) + weight * ( term(F(source)) + term(F(target)) )

"stepwise" is SAFN: every norm grows by `delta` a step. "hard" is HAFN: the mean norm is drawn to
`radius`.
"""

from dajax.losses.feature_norm import hard_norm, stepwise_norm
from dajax.methods.classification import _two_batch_step as two_batches
from dajax.parallel import gather, share
from dajax.settings import check_unread, choice

TASK = "classification"
TERMS = {"stepwise": ("delta",), "hard": ("radius",)}

plan = two_batches.plan


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown config.term, or a number that it does not read.
    """
    choice(config, "term", TERMS)
    check_unread(config, "term", TERMS, {"delta": 0.0, "radius": 0.0})
    return two_batches.initial_state(rng, images, config=config, model=model)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step on CE + weight * the terms of both domains; batch as two_batches.step takes it."""
    masks = [gather(batch[domain]["mask"], axis_name) for domain in ("source", "target")]

    def align(_params, batch_stats, *outputs):
        features = [gather(output.features, axis_name) for output in outputs]
        if config.term == "hard":
            terms = [hard_norm(*both, config.radius) for both in zip(features, masks, strict=True)]
        else:
            terms = [
                stepwise_norm(*both, config.delta) for both in zip(features, masks, strict=True)
            ]
        return share(sum(terms), axis_name), {}, batch_stats

    return two_batches.step(
        state, batch, rng, align, config=config, model=model, axis_name=axis_name
    )
