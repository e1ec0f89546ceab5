"""CAN, the Contrastive Adaptation Network (Kang et al., CVPR 2019), as the authors' released code
runs it.

    min  CE(source) + beta * CDD(source, target; pseudo-labels of the target)

Two things alternate (can_solver.py). A: k-means of all target features, started from the source
class centres, gives the target its pseudo-labels; images far from their centre and classes with few
images are dropped. B: SGD steps, each on a random source batch (CE) and a class-aware batch of both
domains (CDD over the pooled features and the softmax outputs). Pseudo-labels only choose which
target images stand in which class group: no target cross-entropy, no entropy term.

Against the released code: the stop rule's label-change term compares two clusterings (there, one
with itself), the k-means is capped, and the clustering after the last loop, which changed nothing,
is left out. Set clustering.normalize_features for the spherical k-means of the paper. Ours, and off
in the authors' settings: with clustering.min_agreement a loop whose clusters the head contradicts
is trained without CDD.
"""

import jax
import numpy as np

from dajax.losses.cdd import cdd
from dajax.losses.classification import cross_entropy
from dajax.methods import _step
from dajax.methods.classification import _cluster_passes
from dajax.methods.classification import _clustering_loop as alternation
from dajax.models.apply import forward_train, split_rng
from dajax.ops import clustering
from dajax.ops.class_blocks import batch_sizes
from dajax.parallel import masked_mean, share

TASK = "classification"
SOURCES = ("source",)  # all of them in one, where there are several

schedule = alternation.schedule


def init(rng, images, *, config, model, sizes):
    """See interface.py. extra: as alternation.initial_state has it, centers float32 [K, D], the
    target's.
    """
    return alternation.initial_state(
        rng,
        images,
        config=config,
        model=model,
        num_target=sizes.target,
        centers_shape=lambda width: (model.num_classes, width),
    )


def plan(state, *, data, config):
    """A random source batch for CE and a class-aware batch of each domain for CDD, the same classes
    in the same order.
    """
    (source,), target = alternation.class_aware_parts(state, SOURCES, data=data, config=config)
    return {
        "source": data.shuffled("source", config.batch_size),
        "class_source": source,
        "class_target": target,
    }


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on CE + beta * CDD (can_solver.update_network).

    Three forwards with three batch statistics of their own: source batch, class-aware source,
    class-aware target.

    Args:
      batch: "source" with image [N, H, W, C], label [N], mask [N]; "class_source", "class_target"
        with image [R, H, W, C] and mask [R], rows sorted into blocks of equal length, one for
        each class of the batch (short classes padded and masked).
    """
    source, sizes = batch["source"], batch_sizes(config.class_aware, model.num_classes)

    def loss_fn(params):
        output, stats = forward_train(
            model,
            params,
            state.batch_stats,
            source,
            norm_set=_step.SOURCE_NORM_SET,
            axis_name=axis_name,
            rng=split_rng(rng, 0),
        )
        ce = masked_mean(cross_entropy(output.logits, source["label"]), source["mask"], axis_name)
        layers, masks = [], []
        for i, (name, norm_set, per_class) in enumerate(
            (
                ("class_source", _step.SOURCE_NORM_SET, sizes.source_per_class),
                ("class_target", config.target_bn, sizes.target_per_class),
            )
        ):
            part = batch[name]
            output, stats = forward_train(
                model,
                params,
                stats,
                part,
                norm_set=norm_set,
                axis_name=axis_name,
                rng=split_rng(rng, 1 + i),
            )
            blocks, mask = alternation.aligned_blocks(
                output, part["mask"], per_class, config, axis_name
            )
            layers.append(blocks)
            masks.append(mask)
        discrepancy = cdd(
            *layers,
            *masks,
            num_classes=model.num_classes,
            kernel_num=config.cdd.kernel_num,
            kernel_mul=config.cdd.kernel_mul,
            intra_only=config.cdd.intra_only,
        )
        weight = alternation.alignment_weight(state, config)
        loss = ce + weight * share(discrepancy.total, axis_name)
        return loss, (ce, discrepancy, stats)

    (loss, (ce, discrepancy, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    state, metrics = _step.finish(
        state,
        grads,
        stats,
        {"loss": loss, "ce": ce},
        config=config,
        model=model,
        axis_name=axis_name,
    )
    # of the whole batch already
    return state, metrics | {
        "cdd": discrepancy.total,
        "intra": discrepancy.intra,
        "inter": discrepancy.inter,
    }


def refresh(state, *, data, config, model):
    """Clusters the target, filters, and sets up the next loop of updates (can_solver.update_labels,
    filtering).

    Returns:
      The state with new `extra`; a summary: k-means updates, mean distance, centre change, the
        fraction of images and of classes that survive the filter, the source's cross-entropy, and
        alternation.cluster_figures; notes for the user. No label of the target is read.
    """
    passes = _cluster_passes.passes(state, data=data, config=config, model=model)
    init_centers, source_ce = _cluster_passes.source_centers(
        "source", norm_set=_step.SOURCE_NORM_SET, **passes
    )
    features, predictions = _cluster_passes.target_features(**passes)
    clusters = _cluster_passes.cluster(features, init_centers, config.clustering)
    labels = clusters.matching[np.asarray(clusters.kmeans.labels)]
    moves = (
        float(clustering.mean_center_move(clusters.centers, state.extra["centers"])),
        clusters.center_change,
    )
    extra, summary, notes = alternation.conclude(
        state,
        SOURCES,
        labels,
        np.asarray(clusters.kmeans.distances),
        clusters.centers,
        moves,
        predictions=predictions,
        data=data,
        config=config,
        model=model,
    )
    return (
        state.replace(extra=extra),
        {"kmeans_updates": int(clusters.kmeans.num_updates)} | summary | {"source_ce": source_ce},
        notes,
    )
