"""What methods share that have a second head beside the classifier's own: MCD, M3SDA and MDD; and
the three alternating updates of the first two.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from dajax.methods import _step
from dajax.methods.classification import _two_batch_step as alignment
from dajax.models.apply import apply_head, init_head, split_rng
from dajax.parallel import total
from dajax.state import TrainState

SECOND = "second_head"
GENERATOR, CLASSIFIERS = "generator", "classifiers"


def initial_networks(rng, images, *, config, model):
    """Fresh (params, batch_stats): the classifier, with the first classifier as its head, and
    second_head.
    """
    params, batch_stats, width = alignment.initial_networks(rng, images, config=config, model=model)
    params[SECOND], batch_stats[SECOND] = init_head(
        jax.random.fold_in(rng, 1), model=model, num_inputs=width
    )
    return params, batch_stats


def second_logits(params, batch_stats, features, masks, rng, *, config, model, axis_name):
    """The second head on the features of source and target: ([logits of each], batch_stats).

    With config.joint_pass in one batch, as alignment.forward_both has it.

    Args:
      features: (source, target) float32 [N, D]; masks: bool [N] of each.
    """
    norm_sets = _step.SOURCE_NORM_SET, config.target_bn
    moved, passes, rows = batch_stats[SECOND], [(0,), (1,)], None
    if config.joint_pass:
        passes, rows = [(0, 1)], alignment.joint_rows(len(masks[0]), axis_name)
    second = []
    for domains in passes:
        logits, moved = apply_head(
            model,
            params[SECOND],
            moved,
            jnp.concatenate([features[i] for i in domains]),
            jnp.concatenate([masks[i] for i in domains]),
            norm_set=norm_sets[domains[0]],
            axis_name=axis_name,
            rng=split_rng(rng, 1 + domains[0]),
            rows=rows,
        )
        second += jnp.split(logits, len(domains))
    return second, {**batch_stats, SECOND: moved}


def initial_state(rng, images, *, config, model):
    """TrainState at step 0 with an optimiser for the features, config.optimizer, and one for both
    classifiers, config.classifier_optimizer.
    """
    params, batch_stats = initial_networks(rng, images, config=config, model=model)
    parts = _split(params, model)
    opt_state = _step.initial_opt_states(_optimizers(config, model, parts), parts)
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state=opt_state)


def _split(params, model):
    """{network: tree} -> {"generator": {network: tree without its head}, "classifiers": {network:
    {"head": tree}, "second_head": tree}}.
    """
    main = params[model.network]
    features = {name: tree for name, tree in main.items() if name != "head"}
    return {
        GENERATOR: {model.network: features},
        CLASSIFIERS: {model.network: {"head": main["head"]}, SECOND: params[SECOND]},
    }


def _joined(parts, model):
    """The inverse of _split."""
    classifiers = parts[CLASSIFIERS]
    return {
        model.network: {**parts[GENERATOR][model.network], **classifiers[model.network]},
        SECOND: classifiers[SECOND],
    }


def _optimizers(config, model, parts):
    return {
        GENERATOR: _step.optimizer_of(config, model, parts[GENERATOR]),
        CLASSIFIERS: _step.optimizer_at("classifier_optimizer", config, parts[CLASSIFIERS]),
    }


def alternate(state, rng, loss_of, *, config, model, axis_name):
    """Steps A (features and classifiers on the supervised loss), B (classifiers on it minus the
    discrepancy) and config.num_k times C (features on the discrepancy).

    Args:
      loss_of: f(params, batch_stats, rng, supervised, adversarial) -> (this device's share of
        supervised * its supervised loss + adversarial * its discrepancy, ({name: share, among them
        "discrepancy"}, batch_stats)). A factor of 0 leaves a term out.

    Returns:
      (TrainState after the step, its figures).
    """
    parts = _split(state.params, model)
    optimizers = _optimizers(config, model, parts)

    def phase(carry, number, names, supervised, adversarial):
        """Update `number` of this step, of the networks in `names`, with these factors."""
        keys = dict(rng=split_rng(rng, number), supervised=supervised, adversarial=adversarial)
        loss = functools.partial(loss_of, **keys)
        return _update(
            carry,
            names,
            lambda parts, stats: loss(_joined(parts, model), stats),
            optimizers,
            axis_name,
        )

    carry = parts, state.opt_state, state.batch_stats
    carry, a = phase(carry, 0, (GENERATOR, CLASSIFIERS), 1.0, 0.0)
    carry, b = phase(carry, 1, (CLASSIFIERS,), 1.0, -1.0)
    # Unrolled on a CPU, where XLA's convolutions within a loop are many times slower than outside
    # of it.
    unroll = jax.default_backend() == "cpu"
    numbers = jnp.arange(2, 2 + config.num_k)
    carry, c = jax.lax.scan(
        lambda carry, number: phase(carry, number, (GENERATOR,), 0.0, 1.0),
        carry,
        numbers,
        unroll=unroll,
    )
    parts, opt_state, batch_stats = carry
    grad_norm = a.pop("grad_norm")
    last = {name: values[-1] for name, values in c.items()}
    shares = a | {
        "discrepancy_maximised": b["discrepancy"],
        "discrepancy_minimised": last["discrepancy"],
    }
    figures = {"grad_norm": grad_norm} | _step.learning_rates(optimizers, state.step)
    after = state.replace(
        step=state.step + 1,
        params=_joined(parts, model),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    return after, total(shares, axis_name) | figures


def _update(carry, names, loss_of, optimizers, axis_name):
    """One update of some of the parts, the others standing still.

    Args:
      carry: (parts, opt_state, batch_stats). names: the parts that move.
      loss_of: f(parts, batch_stats) -> (this device's share of the loss, ({name: share},
        batch_stats)).

    Returns:
      (carry after it, {name: share} with "grad_norm").
    """
    parts, opt_state, batch_stats = carry
    grads, (terms, batch_stats) = jax.grad(
        lambda moving: loss_of({**parts, **moving}, batch_stats), has_aux=True
    )({name: parts[name] for name in names})
    grads = total(grads, axis_name)
    parts, opt_state = _step.update_parts(optimizers, grads, opt_state, parts)
    return (parts, opt_state, batch_stats), terms | {"grad_norm": optax.global_norm(grads)}
