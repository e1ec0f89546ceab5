"""MSCAN, CAN with several labelled sources (the authors' slides; Kang et al., TPAMI 2020; no code
was released).

    min  sum_e [ CE(source e) + beta w_e CDD(source e, target; pseudo-labels of the target) ]
    w_e = (1 / CE_e) / sum_i (1 / CE_i)

The weights are the boundary-sensitive alignment (BSA): a source that the network separates well
pulls harder. Everything else is CAN's: the target is clustered in turn with loops of updates. The
slides leave some things open. Here, all ours:

  clustering.ensemble    One k-means of the target from each source's centres, matched to the
                         classes. "mean": a target image's class has the least distance averaged
                         over them, and D0 holds for that average. "vote": the majority; the
                         distance decides between equals. A class is averaged, and voted on, over
                         the sources that have images of it.
  weighting              Over what the CE of the weights is taken. "bsa": this batch. "bsa_average":
                         the batches so far, a moving average of bsa_momentum (their plain mean
                         until 1 - 1 / their number reaches that). "bsa_source": the whole source,
                         measured at each clustering and kept until the next: evaluation mode, the
                         source's own statistics, the views of the clustering. In all of them a CE
                         below bsa_floor counts as that (ours), so that sources which are all learnt
                         pull alike. Without BSA: "uniform", 1 / E each, or "one".
  weight_stop_gradient   True: the weights are constants for the gradient. False is for "bsa": the
                         other two are no functions of this step alone.
  target_bn              E, the number of sources: there are E + 1 sets of normalisation parameters
                         and statistics, and the target has the last.
  batches                One CE batch and one class-aware batch of each source a step. All sources
                         and the target share the step's classes, and one class-aware target batch
                         serves all. A source without images of a class sits that class out.

CAN on all sources merged into one, the baseline of the slides' table, is method `can` on the same
data.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.losses.boundary_sensitive import source_weights
from dajax.losses.cdd import cdd
from dajax.losses.classification import cross_entropy
from dajax.methods import _step
from dajax.methods.classification import _cluster_passes
from dajax.methods.classification import _clustering_loop as alternation
from dajax.models.apply import forward_train, split_rng
from dajax.ops import clustering
from dajax.ops.class_blocks import batch_sizes
from dajax.ops.clustering_ensemble import RULES, ensemble_labels
from dajax.ops.moving_average import moving_average, warmed_up
from dajax.parallel import masked_mean, share, total
from dajax.settings import SettingError, choice

TASK = "classification"
BATCH, AVERAGE, SOURCE = "bsa", "bsa_average", "bsa_source"
WEIGHTINGS = {
    BATCH: ("bsa_floor",),
    AVERAGE: ("bsa_floor", "bsa_momentum"),
    SOURCE: ("bsa_floor",),
    "uniform": (),
    "one": (),
}
REMEMBERED = "bsa_ce"  # key of TrainState.extra with AVERAGE and SOURCE

schedule = alternation.schedule


def init(rng, images, *, config, model, sizes):
    """See interface.py. extra: as alternation.initial_state has it, centers float32 [E, K, D], the
    target's in the clustering of each source; where the weights are from more than a batch,
    bsa_ce float32 [E], the cross-entropies that they are from.

    Raises:
      UserError: config.target_bn is not the number of sources; unknown weighting or clustering
        ensemble; a gradient through weights that have none.
    """
    weighting = choice(config, "weighting", WEIGHTINGS)
    if weighting in (AVERAGE, SOURCE) and not config.weight_stop_gradient:
        raise SettingError(
            "weight_stop_gradient",
            False,
            f"weighting='{weighting}' is no function of the step's batch alone; set it to True, or"
            f" weighting to '{BATCH}'",
        )
    choice(config, "clustering.ensemble", RULES)
    if _num_sources(config) != sizes.num_sources:
        raise SettingError(
            "target_bn",
            config.target_bn,
            f"the data have {sizes.num_sources} source(s); set it to that number, so that each"
            " domain has normalisation statistics of its own",
        )
    state = alternation.initial_state(
        rng,
        images,
        config=config,
        model=model,
        num_target=sizes.target,
        centers_shape=lambda width: (_num_sources(config), model.num_classes, width),
    )
    if weighting in (AVERAGE, SOURCE):
        state.extra[REMEMBERED] = jnp.zeros((_num_sources(config),), jnp.float32)
    return state


def _num_sources(config):
    """E. The sources have the sets of normalisation statistics 0 to E - 1 and the target set E, so
    target_bn is their number.
    """
    return config.target_bn


def _sources(config):
    """Keys of data.sets, in the order of the sets of normalisation statistics."""
    return tuple(f"source{i}" for i in range(_num_sources(config)))


def plan(state, *, data, config):
    """For every source a random batch for CE and a class-aware batch for CDD, and one class-aware
    target batch.
    """
    sources = _sources(config)
    class_sources, class_target = alternation.class_aware_parts(
        state, sources, data=data, config=config
    )
    random = {name: data.shuffled(name, config.batch_size) for name in sources}
    class_aware = {f"class_{name}": part for name, part in zip(sources, class_sources, strict=True)}
    return random | class_aware | {"class_target": class_target}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on sum_e CE_e + beta w_e CDD_e; 2 E + 1 forward passes, each with its own batch
    statistics.

    Args:
      batch: "source0" ... with image [N, H, W, C], label [N], mask [N]; "class_source0" ...,
        "class_target" with image [R, H, W, C] and mask [R], rows in blocks of equal length, one for
        each class of the batch, the same classes in the same order in all of them.
    """
    sources, target_norm_set = _sources(config), config.target_bn
    sizes = batch_sizes(config.class_aware, model.num_classes)
    kernels = dict(
        kernel_num=config.cdd.kernel_num,
        kernel_mul=config.cdd.kernel_mul,
        intra_only=config.cdd.intra_only,
    )

    def aligned(params, stats, part, norm_set, per_class):
        own = split_rng(rng, 2 * norm_set + 1)
        output, stats = forward_train(
            model, params, stats, part, norm_set=norm_set, axis_name=axis_name, rng=own
        )
        return alternation.aligned_blocks(output, part["mask"], per_class, config, axis_name), stats

    def loss_fn(params):
        stats, ces, class_sources = state.batch_stats, [], []
        for norm_set, name in enumerate(sources):
            own = split_rng(rng, 2 * norm_set)
            output, stats = forward_train(
                model, params, stats, batch[name], norm_set=norm_set, axis_name=axis_name, rng=own
            )
            ces.append(
                masked_mean(
                    cross_entropy(output.logits, batch[name]["label"]),
                    batch[name]["mask"],
                    axis_name,
                )
            )
            found, stats = aligned(
                params, stats, batch[f"class_{name}"], norm_set, sizes.source_per_class
            )
            class_sources.append(found)
        (target, target_mask), stats = aligned(
            params, stats, batch["class_target"], target_norm_set, sizes.target_per_class
        )
        ce = jnp.stack(ces)  # [E], this device's shares
        weighed = _weighed_by(total(ce, axis_name), state, config)
        weights = _weights(weighed, config)
        discrepancies = jnp.stack(
            [
                cdd(
                    layers, target, mask, target_mask, num_classes=model.num_classes, **kernels
                ).total
                for layers, mask in class_sources
            ]
        )  # [E], of the whole batch
        weight = alternation.alignment_weight(state, config)
        loss = ce.sum() + weight * share((weights * discrepancies).sum(), axis_name)
        return loss, (ce, weighed, weights, discrepancies, stats)

    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    ce, weighed, weights, discrepancies, stats = aux
    shares = {"loss": loss} | _numbered("ce", ce)
    state, metrics = _step.finish(
        state, grads, stats, shares, config=config, model=model, axis_name=axis_name
    )
    if config.weighting == AVERAGE:
        state = state.replace(extra={**state.extra, REMEMBERED: weighed})
    # of the whole batch already
    return state, metrics | _numbered("cdd", discrepancies) | _numbered("weight", weights)


def _weighed_by(ce, state, config):
    """The cross-entropies that the step's weights are made of: float32 [E].

    Args:
      ce: float32 [E], of the whole batch of each source.
      state: at the beginning of the step.
    """
    if config.weighting == SOURCE:
        return state.extra[REMEMBERED]
    if config.weighting != AVERAGE:
        return ce
    # `step` batches came before this one; the first replaces the zeros of `init`.
    momentum = warmed_up(config.bsa_momentum, state.step)
    return moving_average(state.extra[REMEMBERED], ce, momentum)


def _weights(cross_entropies, config):
    """w_e, float32 [E], of float32 [E]."""
    how = dict(weighting=config.weighting)
    if WEIGHTINGS[config.weighting]:
        how = dict(weighting="bsa", floor=config.bsa_floor)
    return source_weights(cross_entropies, stop_gradient=config.weight_stop_gradient, **how)


def _numbered(name, values):
    """{"ce0": value, "ce1": value, ...}."""
    return {f"{name}{i}": value for i, value in enumerate(values)}


def refresh(state, *, data, config, model):
    """Clusters the target once per source, combines, filters, and sets up the next loop. Returns as
    can.refresh.
    """
    passes = _cluster_passes.passes(state, data=data, config=config, model=model)
    (features, predictions), settings = _cluster_passes.target_features(**passes), config.clustering
    found, of_sources, entropies = [], [], []
    for norm_set, name in enumerate(_sources(config)):
        initial, entropy = _cluster_passes.source_centers(name, norm_set=norm_set, **passes)
        entropies.append(entropy)
        found.append(_cluster_passes.cluster(features, initial, settings))
        # A cluster for a class that the source lacks stands for nothing: images that fitted no
        # other.
        of_sources.append(jnp.where(initial.any(-1, keepdims=True), found[-1].centers, 0.0))
    centers = jnp.stack(of_sources)  # [E, K, D]
    labels, distances = ensemble_labels(
        features, centers, rule=settings.ensemble, chunk_size=settings.chunk_size
    )
    moved = [
        float(clustering.mean_center_move(now, before))
        for now, before in zip(centers, state.extra["centers"], strict=True)
    ]
    moves = float(np.mean(moved)), float(np.mean([clusters.center_change for clusters in found]))
    labels = np.asarray(labels)
    extra, summary, notes = alternation.conclude(
        state,
        _sources(config),
        labels,
        np.asarray(distances),
        centers,
        moves,
        predictions=predictions,
        data=data,
        config=config,
        model=model,
    )
    agreement = _agreement(labels, found, np.asarray(centers.any(-1)))
    updates = max(int(clusters.kmeans.num_updates) for clusters in found)
    summary = {"kmeans_updates": updates, "ensemble_agreement": agreement} | summary
    summary |= _numbered("source_ce", entropies)
    if config.weighting == SOURCE:
        extra[REMEMBERED] = jnp.asarray(entropies, jnp.float32)
        weights = _weights(extra[REMEMBERED], config)
        summary |= _numbered("weight", map(float, weights))
    return state.replace(extra=extra), summary, notes


def _agreement(labels, found, has_class):
    """The share of images whose class a source's own clustering gives them too.

    Asked are the sources that have that class.

    Args:
      labels: int32 [N_t], of the ensemble; found: Clusters of each source; has_class: bool [E, K].
    """
    # E of [N_t]
    own = [clusters.matching[np.asarray(clusters.kmeans.labels)] for clusters in found]
    asked = has_class[:, labels]  # [E, N_t]
    return float((asked & (np.stack(own) == labels)).sum() / max(asked.sum(), 1))
