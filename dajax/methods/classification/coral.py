"""Deep CORAL (Sun and Saenko, ECCV Workshops 2016): the covariances of the last layer's outputs of
both domains are made alike.

    min  CE(source) + weight |C_s - C_t|_F^2 / (4 d^2)
"""

from dajax.losses.coral import covariance_difference
from dajax.methods.classification import _two_batch_step as two_batches
from dajax.parallel import gather, share

TASK = "classification"

plan = two_batches.plan


def init(rng, images, *, config, model, **_):
    """See interface.py."""
    return two_batches.initial_state(rng, images, config=config, model=model)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step on CE + weight * CORAL of the whole batch, whatever the number of devices."""
    masks = [gather(batch[domain]["mask"], axis_name) for domain in ("source", "target")]

    def align(params, batch_stats, source, target):
        del params
        logits = [gather(output.logits, axis_name) for output in (source, target)]
        return share(covariance_difference(*logits, *masks), axis_name), {}, batch_stats

    return two_batches.step(
        state, batch, rng, align, config=config, model=model, axis_name=axis_name
    )
