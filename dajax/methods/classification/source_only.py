"""Source only: cross-entropy on labelled source images. The floor that every adaptation method
starts from and is measured against.
"""

import jax

from dajax import optim
from dajax.losses.classification import cross_entropy
from dajax.models.apply import forward_train, init_network
from dajax.parallel import masked_mean, total
from dajax.state import TrainState

SOURCE_DOMAIN = 0


def init(rng, images, *, config, model, num_images):
    """See dajax.methods."""
    del num_images
    params, batch_stats = init_network(rng, images, model=model)
    optimizer = _optimizer(config, model, params)
    return TrainState.create(
        params=params, batch_stats=batch_stats, opt_state=optimizer.init(params)
    )


def _optimizer(config, model, params):
    return optim.make_optimizer(
        config.optimizer, params, steps=config.steps, frozen=model.frozen_parameters()
    )


def plan(state, *, data, config):
    """One shuffled batch of labelled source images."""
    del state
    return {"source": data.shuffled("source", config.batch_size)}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on the mean cross-entropy. batch["source"]: image [N, H, W, C], label int32 [N],
    mask bool [N].
    """
    source = batch["source"]

    def loss_fn(params):
        output, batch_stats = forward_train(
            model,
            params,
            state.batch_stats,
            source,
            domain=SOURCE_DOMAIN,
            axis_name=axis_name,
            rng=rng,
        )
        return (
            masked_mean(cross_entropy(output.logits, source["label"]), source["mask"], axis_name),
            batch_stats,
        )

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    optimizer = _optimizer(config, model, state.params)
    state, grad_norm = optim.apply_gradients(optimizer, state, total(grads, axis_name), batch_stats)
    return state, {"loss": total(loss, axis_name), "grad_norm": grad_norm}
