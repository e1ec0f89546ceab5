"""MCD (Saito et al., CVPR 2018): two classifiers look for target images that they disagree on, the
features move so that they agree.

Each step, on one batch of both domains (thuml/Transfer-Learning-Library, examples mcd.py):
  A  features and classifiers   min  L = CE_1(source) + CE_2(source) + entropy_weight (H_1 + H_2)
  B  classifiers                min  L - weight * mean |p_1 - p_2| on the target
  C  features, num_k times      min  weight * mean |p_1 - p_2| on the target
H = -mean_k log(mean_i p_ik) balances the classes. The features take SGD without momentum, the
classifiers with. Evaluated is the first classifier alone, where tllib reports the better of the two
by target labels. `Classifier.head_widths` gives tllib's hidden layers. Every pass draws its own
dropout, as there.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from dajax.losses.classification import cross_entropy
from dajax.losses.classifier_discrepancy import (
    classifier_discrepancy,
    negative_log_balance,
)
from dajax.methods import _step
from dajax.methods.classification import _two_batch_step as alignment
from dajax.models.apply import apply_head, init_head, split_rng
from dajax.parallel import gather, masked_mean, share, total
from dajax.state import TrainState

TASK = "classification"
SECOND = "second_head"
GENERATOR, CLASSIFIERS = "generator", "classifiers"

plan = alignment.plan


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: classifier, with the first classifier as its head, and
    second_head.
    """
    params, batch_stats, width = alignment.initial_networks(rng, images, config=config, model=model)
    params[SECOND], batch_stats[SECOND] = init_head(
        jax.random.fold_in(rng, 1), model=model, num_inputs=width
    )
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


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """Steps A, B and num_k times C; batch as alignment.step takes it."""
    whole_mask = gather(batch["target"]["mask"], axis_name)
    parts = _split(state.params, model)
    optimizers = _optimizers(config, model, parts)

    def phase(carry, number, names, supervised, adversarial):
        """Update `number` of this step, of the networks in `names`, on _loss with these factors."""
        loss_of = functools.partial(
            _loss,
            batch=batch,
            whole_mask=whole_mask,
            rng=split_rng(rng, number),
            supervised=supervised,
            adversarial=adversarial,
            config=config,
            model=model,
            axis_name=axis_name,
        )
        return _update(carry, names, loss_of, optimizers, axis_name)

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


def _loss(
    parts,
    batch_stats,
    *,
    batch,
    whole_mask,
    rng,
    supervised,
    adversarial,
    config,
    model,
    axis_name,
):
    """supervised * L + adversarial * weight * mean |p_1 - p_2|: see _update's loss_of.

    Args:
      whole_mask: the target's, bool, of the batch of all devices.
      supervised, adversarial: factors; 0 leaves a term out.
    """
    source, target = batch["source"], batch["target"]
    logits, probabilities, batch_stats = _see(
        _joined(parts, model),
        batch_stats,
        batch,
        rng,
        config=config,
        model=model,
        axis_name=axis_name,
    )
    ce = [masked_mean(cross_entropy(x, source["label"]), source["mask"], axis_name) for x in logits]
    balance = share(
        sum(negative_log_balance(gather(p, axis_name), whole_mask) for p in probabilities),
        axis_name,
    )
    apart = masked_mean(classifier_discrepancy(*probabilities), target["mask"], axis_name)
    loss = supervised * (sum(ce) + config.entropy_weight * balance)
    loss += adversarial * config.weight * apart
    terms = {"loss": loss, "ce": ce[0], "ce_second": ce[1]}
    return loss, (terms | {"balance": balance, "discrepancy": apart}, batch_stats)


def _see(params, batch_stats, batch, rng, *, config, model, axis_name):
    """(logits of both heads on the source, their probabilities on the target, batch_stats)."""
    *outputs, batch_stats = alignment.forward_both(
        model, params, batch_stats, batch, split_rng(rng, 0), config=config, axis_name=axis_name
    )
    masks = batch["source"]["mask"], batch["target"]["mask"]
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
            jnp.concatenate([outputs[i].features for i in domains]),
            jnp.concatenate([masks[i] for i in domains]),
            norm_set=norm_sets[domains[0]],
            axis_name=axis_name,
            rng=split_rng(rng, 1 + domains[0]),
            rows=rows,
        )
        second += jnp.split(logits, len(domains))
    of_source, of_target = outputs
    return (
        (of_source.logits, second[0]),
        (jax.nn.softmax(of_target.logits), jax.nn.softmax(second[1])),
        {**batch_stats, SECOND: moved},
    )
