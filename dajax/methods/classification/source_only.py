"""Source only: cross-entropy on labelled source images. The floor that every adaptation method
starts from and is measured against.
"""

import jax

from dajax.losses.classification import cross_entropy
from dajax.methods import _step
from dajax.models.apply import forward_train, init_network
from dajax.parallel import masked_mean

TASK = "classification"


def init(rng, images, *, config, model, **_):
    """See interface.py."""
    params, batch_stats = init_network(rng, images, model=model)
    return _step.initial_state(params, batch_stats, config=config, model=model)


def plan(_state, *, data, config):
    """One shuffled batch of labelled source images."""
    return {"source": data.shuffled("source", config.batch_size)}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on the mean cross-entropy, of labels smoothed by config.label_smoothing.
    batch["source"]: image [N, H, W, C], label int32 [N], mask bool [N].
    """
    source = batch["source"]

    def loss_fn(params):
        output, batch_stats = forward_train(
            model,
            params,
            state.batch_stats,
            source,
            norm_set=_step.SOURCE_NORM_SET,
            axis_name=axis_name,
            rng=rng,
        )
        return (
            masked_mean(
                cross_entropy(output.logits, source["label"], config.label_smoothing),
                source["mask"],
                axis_name,
            ),
            batch_stats,
        )

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return _step.finish(
        state, grads, batch_stats, {"loss": loss}, config=config, model=model, axis_name=axis_name
    )
