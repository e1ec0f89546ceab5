"""What CAN and MSCAN share: loops of updates on class-aware batches, each begun by a clustering of
the target, whose passes are in _cluster_passes.py.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.methods import _step
from dajax.models.apply import feature_width, init_network
from dajax.ops.class_blocks import batch_sizes
from dajax.ops.filtering import drop_contradicted, filter_by_distance
from dajax.parallel import gather
from dajax.schedule import Schedule

# Key of TrainState.extra with clustering.min_agreement: whether this loop leaves out the alignment.
HELD_BACK = "held_back"


def initial_state(rng, images, *, config, model, num_target, centers_shape):
    """TrainState at step 0: the classifier, its optimiser, and in extra

    pseudo_labels and cluster_labels int32 [N_t], kept_classes bool [K], centers float32 of
    centers_shape(D), loop counters; held_back bool where clustering.min_agreement is above 0.
    """
    params, batch_stats = init_network(rng, images, model=model)
    extra = {
        "pseudo_labels": jnp.full((num_target,), -1, jnp.int32),  # -1: not aligned in this loop
        # before filtering, for the stop rule
        "cluster_labels": jnp.full((num_target,), -1, jnp.int32),
        "kept_classes": jnp.zeros((model.num_classes,), bool),
        "centers": jnp.zeros(
            centers_shape(feature_width(model, params, batch_stats, images)), jnp.float32
        ),
        "loop": jnp.zeros((), jnp.int32),  # loops begun
        "loop_start": jnp.zeros((), jnp.int32),
        "refresh_at": jnp.zeros((), jnp.int32),
        "finished": jnp.zeros((), bool),
    }
    if config.clustering.min_agreement:
        extra[HELD_BACK] = jnp.zeros((), bool)
    return _step.initial_state(params, batch_stats, config=config, model=model, extra=extra)


def class_aware_parts(state, sources, *, data, config):
    """([Part of each source], Part of the target) of the current loop, in the same class blocks."""
    extra = state.extra
    return data.class_aware(
        sources,
        np.asarray(extra["pseudo_labels"]),
        np.asarray(extra["kept_classes"]),
        config.class_aware,
        first_step=int(extra["loop_start"]),
        name=f"loop{int(extra['loop'])}",
    )


def class_blocks(rows, num_blocks, per_class, axis_name):
    """This device's share of class-aware rows -> the whole batch in class blocks, without padding.

    Args:
      rows: [R / devices, ...]; the whole batch has R >= num_blocks * per_class rows, class after
        class, the padding that the devices ask for last.
      num_blocks: C, of class_blocks.batch_sizes.
      per_class: n, rows of a class. It is not R // C: C rows of padding would make it n + 1.

    Returns:
      [C, n, ...].

    Raises:
      ValueError: the batch has fewer rows.
    """
    rows, wanted = gather(rows, axis_name), num_blocks * per_class
    if len(rows) < wanted:
        raise ValueError(
            f"class_blocks: {num_blocks} classes of {per_class} rows need {wanted} rows, the "
            f"batch has {len(rows)}"
        )
    return rows[:wanted].reshape((num_blocks, per_class) + rows.shape[1:])


def aligned_blocks(output, mask, per_class, config, axis_name):
    """What CDD takes of one domain: ([features [C, n, D], softmax outputs [C, n, K]], bool [C, n]).

    Args:
      output: Output of this device's class-aware rows; mask: bool, of the same rows.
      per_class: n, of this domain.
    """
    num_blocks = batch_sizes(config.class_aware, output.logits.shape[-1]).classes
    size = num_blocks, per_class, axis_name
    layers = output.features, jax.nn.softmax(output.logits)
    return [class_blocks(x, *size) for x in layers], class_blocks(mask, *size)


def alignment_weight(state, config):
    """The weight of CDD in this loop: config.cdd.weight, or 0 where the loop is held back."""
    if not config.clustering.min_agreement:
        return config.cdd.weight
    return jnp.where(state.extra[HELD_BACK], 0.0, config.cdd.weight)


def schedule(state, *, config):
    """See interface.py: a refresh at the end of every loop, `max_loops` loops at most."""
    extra, step = state.extra, int(state.step)
    loop, start, refresh_at = int(extra["loop"]), int(extra["loop_start"]), int(extra["refresh_at"])
    finished = bool(extra["finished"]) or (loop >= config.max_loops and step >= refresh_at)
    return Schedule(
        refresh_at=refresh_at,
        last_step=refresh_at + (config.max_loops - loop) * (refresh_at - start),
        finished=finished,
    )


def has_converged(extra, moves, labels, thresholds):
    """The stop rule: the target's centres, the gap to the source's and the labels have all stopped
    moving since the last clustering.

    The authors' code compares a clustering's labels with themselves, so that only the first two
    count there.

    Args:
      extra: of the state before this clustering.
      moves: (mean move of the target's centres since the last clustering, mean distance between
        target's and source's centres).
      labels: int32 [N_t]; thresholds: three numbers.
    """
    changed = float(np.mean(labels != np.asarray(extra["cluster_labels"])))
    return int(extra["loop"]) > 0 and all(
        move < threshold for move, threshold in zip((*moves, changed), thresholds, strict=True)
    )


def cluster_figures(labels, pseudo_labels, predictions, num_classes):
    """What clusters and head say of the same images, for the log; it needs no labels.

    Args:
      labels, pseudo_labels, predictions: int32 [N_t]: the cluster's class, the same or -1 where the
        filter leaves an image out, and the head's class.

    Returns:
      {"head_agreement": share of the images that head and cluster give the same class,
      "head_agreement_per_cluster": the same of each cluster, None for an empty one;
      "images_per_cluster", "images_kept_per_cluster"}; lists in the order of the classes.
    """
    agreed, kept = labels == predictions, pseudo_labels >= 0
    sizes, same, left = (
        np.bincount(labels[chosen], minlength=num_classes) for chosen in (slice(None), agreed, kept)
    )
    return {
        "head_agreement": float(agreed.mean()),
        "head_agreement_per_cluster": [
            float(part / whole) if whole else None for part, whole in zip(same, sizes, strict=True)
        ],
        "images_per_cluster": sizes.tolist(),
        "images_kept_per_cluster": left.tolist(),
    }


def conclude(
    state, sources, labels, distances, centers, moves, *, predictions, data, config, model
):
    """Filters the new labels and sets up the next loop, or ends the stage.

    Args:
      labels: int32 [N_t]; distances: float32 [N_t], to the centre of that class.
      predictions: int32 [N_t], the head's classes, for the log, clustering.drop_contradicted and
        clustering.min_agreement: the next loop is held back, which is trained without alignment,
        where head and clusters agree on a smaller share of the images (ours). Both domains still
        pass the network, so that the target's statistics of normalisation go on adapting.
      moves: as has_converged takes them.

    Returns:
      (extra, summary, notes) for `refresh`.
    """
    settings, extra, step = config.clustering, state.extra, int(state.step)
    finished = has_converged(extra, moves, labels, config.stop_thresholds)
    pseudo_labels, kept_classes = filter_by_distance(
        labels,
        distances,
        num_classes=model.num_classes,
        max_distance=settings.max_distance,
        min_count=settings.min_count,
    )
    if settings.drop_contradicted:
        pseudo_labels, kept_classes = drop_contradicted(
            pseudo_labels,
            labels,
            predictions,
            num_classes=model.num_classes,
            min_count=settings.min_count,
        )
    steps = data.class_aware_steps(
        sources, pseudo_labels, kept_classes, config.class_aware, fallback_batch=config.batch_size
    )
    figures = cluster_figures(labels, pseudo_labels, predictions, model.num_classes)
    held_back = figures["head_agreement"] < settings.min_agreement
    new_extra = extra | {
        "pseudo_labels": jnp.asarray(pseudo_labels),
        "cluster_labels": jnp.asarray(labels),
        "kept_classes": jnp.asarray(kept_classes),
        "centers": centers,
        "loop": extra["loop"] + (0 if finished else 1),
        "loop_start": jnp.int32(step),
        "refresh_at": jnp.int32(step if finished else step + steps),
        "finished": jnp.asarray(finished),
    }
    if settings.min_agreement:
        new_extra[HELD_BACK] = jnp.asarray(held_back)
        figures["held_back"] = float(held_back)
    summary = {
        "mean_distance": float(distances.mean()),
        "center_change": moves[1],
        "labels_changed": float(np.mean(labels != np.asarray(extra["cluster_labels"]))),
        "samples_kept": float(np.mean(pseudo_labels >= 0)),
        "classes_kept": float(kept_classes.mean()),
        "loop_steps": steps,
    } | figures
    notes = []
    if finished:
        notes.append(
            "converged: centres, gap and labels have stopped moving (stop_thresholds of this"
            " stage's config)"
        )
    elif not kept_classes.any():
        notes.append(
            "no class is left after filtering: this loop trains on cross-entropy alone; see"
            " `clustering` in this stage's config"
        )
    elif held_back:
        notes.append(
            f"held back: head and clusters agree on {figures['head_agreement']:.0%} of the target"
            f" images, below clustering.min_agreement={settings.min_agreement:g}; this loop trains"
            " without aligning"
        )
    return new_extra, summary, notes
