"""What the methods share that train a segmenter with one optimiser and no second network."""

import jax

from dajax import optim
from dajax.models.apply import feature_width, forward_train, init_network
from dajax.parallel import total
from dajax.state import TrainState


def optimizer_of(config, model, params):
    """The stage's optimiser, which leaves alone what the network freezes."""
    return optim.make_optimizer(
        config.optimizer, params, steps=config.steps, frozen=model.frozen_parameters()
    )


def initial_state(rng, images, *, config, model, extra=None):
    """TrainState at step 0 of the segmenter, its optimiser and extra(D), a function of the width of
    the features, where there is one.
    """
    params, batch_stats = init_network(rng, images, model=model)
    extra = None if extra is None else extra(feature_width(model, params, batch_stats, images))
    opt_state = optimizer_of(config, model, params).init(params)
    return TrainState.create(
        params=params, batch_stats=batch_stats, opt_state=opt_state, extra=extra
    )


def apply_gradients(state, grads, batch_stats, *, config, model, axis_name):
    """(state after one step on the gradients of all devices' shares, norm of the gradient)."""
    optimizer = optimizer_of(config, model, state.params)
    return optim.apply_gradients(optimizer, state, total(grads, axis_name), batch_stats)


def step_on_both_domains(state, batch, losses, *, config, model, axis_name):
    """One step on a loss of both domains: the source passes first, then the target, each with its
    own batch statistics.

    Args:
      batch: "source" and "target", each with image [N, h, w, 3] and mask [N].
      losses: (source SegOutput, target SegOutput, batch, extra, config, axis_name) -> (this
        device's share of the loss, {name: share}, new extra).

    Returns:
      (TrainState with the new extra, {name: float scalar}).
    """

    def loss_fn(params):
        passes = dict(domain=config.target_bn, axis_name=axis_name)
        source_output, batch_stats = forward_train(
            model, params, state.batch_stats, batch["source"], **passes
        )
        target_output, batch_stats = forward_train(
            model, params, batch_stats, batch["target"], **passes
        )
        loss, terms, extra = losses(
            source_output, target_output, batch, state.extra, config, axis_name
        )
        return loss, (terms | {"loss": loss}, batch_stats, extra)

    (_, (terms, batch_stats, extra)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    state, grad_norm = apply_gradients(
        state, grads, batch_stats, config=config, model=model, axis_name=axis_name
    )
    return state.replace(extra=extra), total(terms, axis_name) | {"grad_norm": grad_norm}
