"""M3SDA (Peng et al., ICCV 2019): several sources whose moments and the target's are made alike,
with MCD's two classifiers.

Each step, on one batch of every source and of the target (VisionLearningGroup.github.io, M3SDA,
00928e4, solver_MSDA.py):
  A  features and classifiers   min  L = sum_e (CE_1 + CE_2)(source e) + moment_weight * MD
  B  classifiers                min  L - weight * mean |p_1 - p_2| on the target
  C  features, num_k times      min  weight * mean |p_1 - p_2| on the target, which alone passes
MD is the paper's moment distance (dajax/losses/moments.py) up to `moment_orders`, of the features.
The released code's is another, and its step B has two of the sources' terms: slips, which are not
here. As in that code there is one pair of classifiers for all sources. Evaluated is the first.

Every domain passes the network in a batch of its own. target_bn: 0, one set of normalisation
statistics, as in the code; or the number of sources, a set for each domain.
"""

import functools

import jax
import jax.numpy as jnp

from dajax.losses.classification import cross_entropy
from dajax.losses.classifier_discrepancy import classifier_discrepancy
from dajax.losses.moments import moment_distance
from dajax.methods.classification import _two_heads as two_heads
from dajax.models.apply import apply_head, forward_train, split_rng
from dajax.parallel import gather, masked_mean, share
from dajax.settings import SettingError

TASK = "classification"


def init(rng, images, *, config, model, sizes):
    """See interface.py. Networks: classifier, with the first classifier as its head, and
    second_head.

    Raises:
      UserError: target_bn is neither 0 nor the number of sources.
    """
    if config.target_bn not in (0, sizes.num_sources):
        raise SettingError(
            "target_bn",
            config.target_bn,
            f"the data have {sizes.num_sources} source(s); set it to that number for normalisation"
            " statistics of each domain, or to 0",
        )
    return two_heads.initial_state(rng, images, config=config, model=model)


def plan(_state, *, data, config):
    """A shuffled batch of every source, with labels, and one of as many target images."""
    names = (*(f"source{i}" for i in range(data.num_sources)), "target")
    return {name: data.shuffled(name, config.batch_size) for name in names}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """Steps A, B and num_k times C.

    Args:
      batch: "source0" ... with image [N, H, W, C], label int32 [N], mask bool [N]; "target" with
        image and mask.
    """
    shared = dict(config=config, model=model, axis_name=axis_name)
    sources = [batch[f"source{i}"] for i in range(len(batch) - 1)]
    loss_of = functools.partial(_loss, domains=[*sources, batch["target"]], **shared)
    return two_heads.alternate(state, rng, loss_of, **shared)


def _loss(params, batch_stats, *, domains, rng, supervised, adversarial, config, model, axis_name):
    """supervised * L + adversarial * weight * mean |p_1 - p_2|: see two_heads.alternate's loss_of.

    Args:
      domains: parts of the sources, and the target's last, which alone passes where supervised
        is 0.
    """
    passes = list(enumerate(domains)) if supervised else [(len(domains) - 1, domains[-1])]
    features, first, second, batch_stats = _see(
        params, batch_stats, passes, rng, config=config, model=model, axis_name=axis_name
    )
    apart = masked_mean(
        classifier_discrepancy(jax.nn.softmax(first[-1]), jax.nn.softmax(second[-1])),
        domains[-1]["mask"],
        axis_name,
    )
    loss, terms = adversarial * config.weight * apart, {"discrepancy": apart}
    if supervised:
        ces = [
            sum(
                masked_mean(cross_entropy(logits, part["label"]), part["mask"], axis_name)
                for logits, part in zip(head[:-1], domains[:-1], strict=True)
            )
            for head in (first, second)
        ]
        *sources, target = (gather(x, axis_name) for x in features)
        *source_masks, target_mask = (gather(part["mask"], axis_name) for part in domains)
        masks = jnp.stack(source_masks), target_mask
        orders = config.moment_orders
        moments = moment_distance(jnp.stack(sources), target, *masks, orders=orders)
        moments = share(moments, axis_name)
        loss += supervised * (sum(ces) + config.moment_weight * moments)
        terms |= {"ce": ces[0], "ce_second": ces[1], "moments": moments}
    return loss, (terms | {"loss": loss}, batch_stats)


def _see(params, batch_stats, passes, rng, *, config, model, axis_name):
    """(features, logits of the classifier, logits of the second head, batch_stats): lists of a
    domain each.

    Args:
      passes: (number of the domain, part) of each.
    """
    features, first, second = [], [], []
    for number, part in passes:
        own = dict(norm_set=number if config.target_bn else 0, axis_name=axis_name)
        output, batch_stats = forward_train(
            model, params, batch_stats, part, rng=split_rng(rng, 2 * number), **own
        )
        logits, moved = apply_head(
            model,
            params[two_heads.SECOND],
            batch_stats[two_heads.SECOND],
            output.features,
            part["mask"],
            rng=split_rng(rng, 2 * number + 1),
            **own,
        )
        batch_stats = {**batch_stats, two_heads.SECOND: moved}
        features.append(output.features)
        first.append(output.logits)
        second.append(logits)
    return features, first, second, batch_stats
