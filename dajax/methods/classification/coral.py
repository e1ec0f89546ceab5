"""Deep CORAL (Sun and Saenko, ECCV Workshops 2016): the covariances of one layer's outputs are made
alike in both domains.

    min  CE(source) + weight |C_s - C_t|_F^2 / (4 d^2)

The paper's layer is the last, the logits; layer="features" takes what comes before it (ours).
"""

from dajax.losses.coral import covariance_difference
from dajax.methods.classification import _two_batch_step as two_batches
from dajax.parallel import gather, share
from dajax.settings import choice

TASK = "classification"
LAYERS = ("logits", "features")  # of a network's Output

plan = two_batches.plan


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown config.layer.
    """
    choice(config, "layer", LAYERS)
    return two_batches.initial_state(rng, images, config=config, model=model)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step on CE + weight * CORAL of the whole batch, whatever the number of devices."""
    masks = [gather(batch[domain]["mask"], axis_name) for domain in ("source", "target")]

    def align(_params, batch_stats, source, target):
        rows = [gather(getattr(output, config.layer), axis_name) for output in (source, target)]
        return share(covariance_difference(*rows, *masks), axis_name), {}, batch_stats

    return two_batches.step(
        state, batch, rng, align, config=config, model=model, axis_name=axis_name
    )
