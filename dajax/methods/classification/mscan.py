"""MSCAN, CAN with several labelled sources (the authors' slides; Kang et al., TPAMI 2020; no code
was released).

    min  sum_e [ CE(source e) + beta w_e CDD(source e, target; pseudo-labels of the target) ],   w_e = (1 / CE_e) / sum_i (1 / CE_i)

The weights are the boundary-sensitive alignment (BSA): a source that the network separates well
pulls harder. Everything else as in CAN: the target is clustered in turn with loops of updates. What
the slides leave open, and what is done here (spec/can.md, section 13; all ours):
  clustering.ensemble    one k-means of the target from each source's centres, matched to the classes; "mean": a target image's class is the
                         least distance averaged over them, and D0 holds for that average; "vote":
                         the majority, equals by distance. A class is averaged, and voted on, over
                         the sources that have images of it
  weighting              "bsa"; without it "uniform", 1 / E each, or "one"; the CE is this batch's, floored at 1e-6
  weight_stop_gradient   True: the weights are constants for the gradient
  target_bn              E, the number of sources: E + 1 sets of normalisation parameters and statistics
  batches                one CE batch and one class-aware batch per source and step; all sources and the target share the step's classes, and
                         one class-aware target batch serves all; a source without images of a class
                         sits that class out
CAN on all sources merged into one, the baseline of the slides' table, is method `can` on the same
data.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax import optim
from dajax.errors import UserError
from dajax.losses.boundary_sensitive import WEIGHTINGS, source_weights
from dajax.losses.cdd import cdd
from dajax.losses.classification import cross_entropy
from dajax.methods.classification import _clustering_loop as alternation
from dajax.models.apply import forward_train, split_rng
from dajax.ops import clustering
from dajax.ops.clustering_ensemble import RULES, ensemble_labels
from dajax.parallel import masked_mean, share, total

schedule = alternation.schedule


def init(rng, images, *, config, model, num_images):
    """See dajax.methods. extra: as alternation.initial_state has it, centers float32 [E, K, D], the
    target's in the clustering of each source.

    Raises:
      UserError: config.target_bn is not the number of sources; unknown weighting or clustering
        ensemble.
    """
    for key, value, known in (
        ("weighting", config.weighting, WEIGHTINGS),
        ("clustering.ensemble", config.clustering.ensemble, RULES),
    ):
        if value not in known:
            raise UserError(f"mscan: unknown {key} '{value}'; known: {', '.join(known)}")
    if config.target_bn != num_images["sources"]:
        raise UserError(
            f"mscan: target_bn={config.target_bn}, but the data have {num_images['sources']}"
            " source(s); set target_bn to that number, so that each domain has normalisation"
            " statistics of its own"
        )
    return alternation.initial_state(
        rng,
        images,
        config=config,
        model=model,
        num_target=num_images["target"],
        centers_shape=lambda width: (config.target_bn, model.num_classes, width),
    )


def _sources(config):
    """Keys of data.sets, in the order of the sets of normalisation statistics."""
    return tuple(f"source{i}" for i in range(config.target_bn))


def plan(state, *, data, config):
    """For every source a random batch for CE and a class-aware batch for CDD, and one class-aware
    target batch.
    """
    sources = _sources(config)
    class_sources, class_target = alternation.class_aware_parts(
        state, sources, data=data, config=config
    )
    random = {name: data.shuffled(name, config.batch_size) for name in sources}
    return (
        random
        | {f"class_{name}": part for name, part in zip(sources, class_sources)}
        | {"class_target": class_target}
    )


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on sum_e CE_e + beta w_e CDD_e; 2 E + 1 forward passes, each with its own batch
    statistics.

    Args:
      batch: "source0" ... with image [N, H, W, C], label [N], mask [N]; "class_source0" ...,
        "class_target" with image [R, H, W, C] and mask [R], rows in class_aware.num_classes blocks
        of equal length, the same classes in the same order in all of them.
    """
    sources, sizes = _sources(config), config.class_aware
    kernels = dict(
        kernel_num=config.cdd.kernel_num,
        kernel_mul=config.cdd.kernel_mul,
        intra_only=config.cdd.intra_only,
    )

    def aligned(params, stats, part, domain, per_class):
        own = split_rng(rng, 2 * domain + 1)
        output, stats = forward_train(
            model, params, stats, part, domain=domain, axis_name=axis_name, rng=own
        )
        return alternation.aligned_blocks(output, part["mask"], per_class, config, axis_name), stats

    def loss_fn(params):
        stats, ces, class_sources = state.batch_stats, [], []
        for domain, name in enumerate(sources):
            own = split_rng(rng, 2 * domain)
            output, stats = forward_train(
                model, params, stats, batch[name], domain=domain, axis_name=axis_name, rng=own
            )
            ces.append(
                masked_mean(
                    cross_entropy(output.logits, batch[name]["label"]),
                    batch[name]["mask"],
                    axis_name,
                )
            )
            found, stats = aligned(
                params, stats, batch[f"class_{name}"], domain, sizes.source_per_class
            )
            class_sources.append(found)
        (target, target_mask), stats = aligned(
            params, stats, batch["class_target"], config.target_bn, sizes.target_per_class
        )
        ce = jnp.stack(ces)  # [E], this device's shares
        weights = source_weights(
            total(ce, axis_name),
            weighting=config.weighting,
            stop_gradient=config.weight_stop_gradient,
        )
        discrepancies = jnp.stack(
            [
                cdd(
                    layers, target, mask, target_mask, num_classes=model.num_classes, **kernels
                ).total
                for layers, mask in class_sources
            ]
        )  # [E], of the whole batch
        loss = ce.sum() + config.cdd.weight * share((weights * discrepancies).sum(), axis_name)
        return loss, (ce, weights, discrepancies, stats)

    (loss, (ce, weights, discrepancies, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    optimizer = alternation.optimizer_of(config, model, state.params)
    learning_rate = optim.make_schedule(config.optimizer, 0)(state.step)
    state, grad_norm = optim.apply_gradients(optimizer, state, total(grads, axis_name), stats)
    metrics = {
        "loss": total(loss, axis_name),
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
    }
    for name, values in (("ce", total(ce, axis_name)), ("cdd", discrepancies), ("weight", weights)):
        metrics |= {f"{name}{i}": value for i, value in enumerate(values)}
    return state, metrics


def refresh(state, *, data, config, model):
    """Clusters the target once per source, combines, filters, and sets up the next loop. Returns as
    can.refresh.
    """
    passes = alternation.passes(state, data=data, config=config, model=model)
    features, settings = alternation.target_features(**passes), config.clustering
    found, of_sources = [], []
    for domain, name in enumerate(_sources(config)):
        initial = alternation.source_centers(name, domain=domain, **passes)
        found.append(alternation.cluster(features, initial, settings))
        # A cluster for a class that the source lacks stands for nothing: images that fitted no
        # other.
        of_sources.append(jnp.where(initial.any(-1, keepdims=True), found[-1].centers, 0.0))
    centers = jnp.stack(of_sources)  # [E, K, D]
    labels, distances = ensemble_labels(
        features, centers, rule=settings.ensemble, chunk_size=settings.chunk_size
    )
    moved = [
        float(clustering.mean_center_move(now, before))
        for now, before in zip(centers, state.extra["centers"])
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
        data=data,
        config=config,
        model=model,
    )
    agreement = _agreement(labels, found, np.asarray(centers.any(-1)))
    updates = max(int(clusters.kmeans.num_updates) for clusters in found)
    return (
        state.replace(extra=extra),
        {"kmeans_updates": updates, "ensemble_agreement": agreement} | summary,
        notes,
    )


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
