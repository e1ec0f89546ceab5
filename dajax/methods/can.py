"""CAN, the Contrastive Adaptation Network (Kang et al., CVPR 2019), as the authors' released code runs it.

    min  CE(source) + beta * CDD(source, target; pseudo-labels of the target)

Two things alternate (can_solver.py). A: k-means of all target features, started from the source class centres, gives the target its
pseudo-labels; images far from their centre and classes with few images are dropped. B: SGD steps, each on a random source batch (CE)
and a class-aware batch of both domains (CDD over the pooled features and the softmax outputs). Pseudo-labels only choose which target
images stand in which class group: no target cross-entropy, no entropy term.

Against the released code: the stop rule's label-change term compares two clusterings (there, one with itself), the k-means is capped,
and the clustering after the last loop, which changed nothing, is left out. Set clustering.normalize_features for the spherical k-means
of the paper.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax import optim
from dajax.losses.cdd import cdd
from dajax.losses.classification import cross_entropy
from dajax.models.apply import forward_train, inference, init_network
from dajax.ops import clustering
from dajax.ops.filtering import filter_by_distance
from dajax.parallel import gather, masked_mean, share, total
from dajax.schedule import Schedule
from dajax.state import TrainState

SOURCE_DOMAIN = 0


def init(rng, images, *, config, model, num_images):
    """See dajax.methods. extra: pseudo_labels and cluster_labels int32 [N_t], kept_classes bool [K], centers [K, D], loop counters."""
    params, batch_stats = init_network(rng, images, model=model)
    optimizer = _optimizer(config, model, params)
    features = jax.eval_shape(lambda: inference(model, config.target_bn)({"params": params, "batch_stats": batch_stats}, images)).features
    num_classes = model.num_classes
    extra = {
        "pseudo_labels": jnp.full((num_images["target"],), -1, jnp.int32),  # -1: not aligned in this loop
        "cluster_labels": jnp.full((num_images["target"],), -1, jnp.int32),  # before filtering, for the stop rule
        "kept_classes": jnp.zeros((num_classes,), bool),
        "centers": jnp.zeros((num_classes, features.shape[-1]), jnp.float32),
        "loop": jnp.zeros((), jnp.int32),  # loops begun
        "loop_start": jnp.zeros((), jnp.int32),
        "refresh_at": jnp.zeros((), jnp.int32),
        "finished": jnp.zeros((), bool),
    }
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state=optimizer.init(params), extra=extra)


def _optimizer(config, model, params):
    return optim.make_optimizer(config.optimizer, params, steps=0, frozen=model.frozen_parameters())


def plan(state, *, data, config):
    """A random source batch for CE and a class-aware batch of each domain for CDD, the same classes in the same order."""
    sampling = config.class_aware
    (source,), target = data.class_aware(
        ("source",), np.asarray(state.extra["pseudo_labels"]), np.asarray(state.extra["kept_classes"]), sampling,
        first_step=int(state.extra["loop_start"]), name=f"loop{int(state.extra['loop'])}",
    )
    return {"source": data.shuffled("source", config.batch_size), "class_source": source, "class_target": target}


def _class_blocks(rows, num_classes, axis_name):
    """This device's share of the class-aware rows -> the whole batch in class blocks [C, n, ...]; the device padding is dropped."""
    rows = gather(rows, axis_name)
    return rows[: rows.shape[0] // num_classes * num_classes].reshape((num_classes, -1) + rows.shape[1:])


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on CE + beta * CDD (can_solver.update_network).

    Three forwards with three batch statistics of their own: source batch, class-aware source, class-aware target.

    Args:
      batch: "source" with image [N, H, W, C], label [N], mask [N]; "class_source", "class_target" with image [R, H, W, C] and mask [R],
        rows sorted into class_aware.num_classes blocks of equal length (short classes padded and masked).
    """
    del rng
    source, num_blocks = batch["source"], config.class_aware.num_classes

    def loss_fn(params):
        output, stats = forward_train(model, params, state.batch_stats, source, domain=SOURCE_DOMAIN, axis_name=axis_name)
        ce = masked_mean(cross_entropy(output.logits, source["label"]), source["mask"], axis_name)
        layers, masks = [], []
        for part, domain in ((batch["class_source"], SOURCE_DOMAIN), (batch["class_target"], config.target_bn)):
            output, stats = forward_train(model, params, stats, part, domain=domain, axis_name=axis_name)
            rows = (output.features, jax.nn.softmax(output.logits))
            layers.append([_class_blocks(x, num_blocks, axis_name) for x in rows])  # [C, n, D], [C, n, K]
            masks.append(_class_blocks(part["mask"], num_blocks, axis_name))  # [C, n]
        discrepancy = cdd(
            *layers, *masks, num_classes=model.num_classes, kernel_num=config.cdd.kernel_num, kernel_mul=config.cdd.kernel_mul,
            intra_only=config.cdd.intra_only,
        )
        loss = ce + config.cdd.weight * share(discrepancy.total, axis_name)
        return loss, (ce, discrepancy, stats)

    (loss, (ce, discrepancy, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    optimizer = _optimizer(config, model, state.params)
    learning_rate = optim.make_schedule(config.optimizer, 0)(state.step)
    state, grad_norm = optim.apply_gradients(optimizer, state, total(grads, axis_name), stats)
    metrics = {"loss": total(loss, axis_name), "ce": total(ce, axis_name), "cdd": discrepancy.total, "intra": discrepancy.intra}
    return state, metrics | {"inter": discrepancy.inter, "grad_norm": grad_norm, "learning_rate": learning_rate}


def schedule(state, *, config):
    """See dajax.methods: a refresh at the end of every loop, `max_loops` loops at most."""
    extra, step = state.extra, int(state.step)
    loop, start, refresh_at = int(extra["loop"]), int(extra["loop_start"]), int(extra["refresh_at"])
    finished = bool(extra["finished"]) or (loop >= config.max_loops and step >= refresh_at)
    return Schedule(refresh_at=refresh_at, last_step=refresh_at + (config.max_loops - loop) * (refresh_at - start), finished=finished)


def source_centers(variables, *, data, config, model, name):
    """Class sums of source features: float32 [K, D]; evaluation mode, source statistics, training views (solver/utils.get_centers)."""
    embed, centers = inference(model, SOURCE_DOMAIN, data.devices), None
    for batch in data.sequence("source", config.clustering.batch_size, views="train", name=f"{name} source"):
        features = embed(variables, batch["image"]).features
        features = clustering.normalize(features) if config.clustering.normalize_features else features
        sums = clustering.class_sums(features, jnp.where(batch["mask"], batch["label"], -1), model.num_classes)
        centers = sums if centers is None else centers + sums
    return centers


def target_features(variables, *, data, config, model, name):
    """Features of every target image in order: float32 [N_t, D]; evaluation mode, target statistics, training views."""
    embed, chunks = inference(model, config.target_bn, data.devices), []
    for batch in data.sequence("target", config.clustering.batch_size, views="train", name=f"{name} target"):
        chunks.append(np.asarray(embed(variables, batch["image"]).features)[batch["mask"]])
    features = jnp.asarray(np.concatenate(chunks))
    return clustering.normalize(features) if config.clustering.normalize_features else features


def _converged(extra, centers, labels, center_change, thresholds):
    """The stop rule: target centres, source-target gap and labels have all stopped moving since the last clustering."""
    if int(extra["loop"]) == 0:
        return False
    moves = float(clustering.mean_center_move(centers, extra["centers"])), center_change, float(np.mean(labels != extra["cluster_labels"]))
    return all(move < threshold for move, threshold in zip(moves, thresholds, strict=True))


def refresh(state, *, data, config, model):
    """Clusters the target, filters, and sets up the next loop of updates (can_solver.update_labels, filtering).

    Returns:
      The state with new `extra`; a summary: k-means updates, mean distance, centre change, and the fraction of images and of classes
      that survive the filter; notes for the user. No label of the target is read.
    """
    settings, extra, step = config.clustering, state.extra, int(state.step)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    passes = {"data": data, "config": config, "model": model, "name": f"clustering{int(extra['loop'])}"}  # new views every loop
    init_centers = source_centers(variables, **passes)
    features = target_features(variables, **passes)
    clusters = clustering.cosine_kmeans(
        features, init_centers, eps=settings.eps, max_updates=settings.max_updates, chunk_size=settings.chunk_size
    )
    matching = clustering.match_clusters(clusters.centers, init_centers)
    labels = matching[np.asarray(clusters.labels)]
    centers = clusters.centers[np.argsort(matching)]  # row c: the cluster that stands for class c
    center_change = float(clustering.mean_center_move(centers, init_centers))
    finished = _converged(extra, centers, labels, center_change, config.stop_thresholds)

    pseudo_labels, kept_classes = filter_by_distance(
        labels, np.asarray(clusters.distances), num_classes=model.num_classes,
        max_distance=settings.max_distance, min_count=settings.min_count,
    )
    steps = data.class_aware_steps(("source",), pseudo_labels, kept_classes, config.class_aware, fallback_batch=config.batch_size)
    new_extra = {
        "pseudo_labels": jnp.asarray(pseudo_labels), "cluster_labels": jnp.asarray(labels), "kept_classes": jnp.asarray(kept_classes),
        "centers": centers, "loop": extra["loop"] + (0 if finished else 1), "loop_start": jnp.int32(step),
        "refresh_at": jnp.int32(step if finished else step + steps), "finished": jnp.asarray(finished),
    }
    summary = {
        "kmeans_updates": int(clusters.num_updates), "mean_distance": float(clusters.distances.mean()), "center_change": center_change,
        "labels_changed": float(np.mean(labels != np.asarray(extra["cluster_labels"]))),
        "samples_kept": float(np.mean(pseudo_labels >= 0)), "classes_kept": float(kept_classes.mean()), "loop_steps": steps,
    }
    notes = []
    if finished:
        notes.append("converged: centres, gap and labels have stopped moving (config.can.stop_thresholds)")
    elif not kept_classes.any():
        notes.append("no class is left after filtering: this loop trains on the source's cross-entropy alone; see config.can.clustering")
    return state.replace(extra=new_extra), summary, notes
