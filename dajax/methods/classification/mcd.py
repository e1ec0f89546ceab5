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

from dajax.losses.classification import cross_entropy
from dajax.losses.classifier_discrepancy import (
    classifier_discrepancy,
    negative_log_balance,
)
from dajax.methods.classification import _two_batch_step as alignment
from dajax.methods.classification import _two_heads as two_heads
from dajax.models.apply import split_rng
from dajax.parallel import gather, masked_mean, share

TASK = "classification"

plan = alignment.plan


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: classifier, with the first classifier as its head, and
    second_head.
    """
    return two_heads.initial_state(rng, images, config=config, model=model)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """Steps A, B and num_k times C; batch as alignment.step takes it."""
    shared = dict(config=config, model=model, axis_name=axis_name)
    whole_mask = gather(batch["target"]["mask"], axis_name)
    loss_of = functools.partial(_loss, batch=batch, whole_mask=whole_mask, **shared)
    return two_heads.alternate(state, rng, loss_of, **shared)


def _loss(
    params,
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
    """supervised * L + adversarial * weight * mean |p_1 - p_2|: see two_heads.alternate's loss_of.

    Args:
      whole_mask: the target's, bool, of the batch of all devices.
      supervised, adversarial: factors; 0 leaves a term out.
    """
    source, target = batch["source"], batch["target"]
    logits, probabilities, batch_stats = _see(
        params,
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
    shared = dict(config=config, model=model, axis_name=axis_name)
    *outputs, batch_stats = alignment.forward_both(
        model, params, batch_stats, batch, split_rng(rng, 0), config=config, axis_name=axis_name
    )
    second, batch_stats = two_heads.second_logits(
        params,
        batch_stats,
        [output.features for output in outputs],
        [batch[domain]["mask"] for domain in ("source", "target")],
        rng,
        **shared,
    )
    of_source, of_target = outputs
    return (
        (of_source.logits, second[0]),
        (jax.nn.softmax(of_target.logits), jax.nn.softmax(second[1])),
        batch_stats,
    )
