"""One clustering of the target, as CAN and MSCAN do it: the passes that embed the images, and
k-means from a source's centres.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dajax import processes
from dajax.losses.classification import cross_entropy
from dajax.models.apply import inference
from dajax.ops import clustering
from dajax.ops.host_arrays import aligned_empty


def passes(state, *, data, config, model):
    """The keyword arguments of `source_centers` and `target_features`; every loop sees new random
    views.
    """
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return {
        "variables": variables,
        "data": data,
        "config": config,
        "model": model,
        "name": f"clustering{int(state.extra['loop'])}",
    }


def source_centers(source, *, norm_set, variables, data, config, model, name):
    """One pass over a source; evaluation mode, training views (solver/utils.get_centers).

    Args:
      source: key of data.sets; norm_set: its set of normalisation statistics.

    Returns:
      (class sums of its features: float32 [K, D]; mean cross-entropy of its images: float).
    """
    embed, centers, entropies = inference(model, norm_set, data.devices), None, np.float32(0)
    for batch in data.sequence(
        source, config.clustering.batch_size, views="train", name=f"{name} {source}"
    ):
        output = embed(variables, batch["image"])
        labels = jnp.where(batch["mask"], batch["label"], -1)  # int32 [N]
        features = (
            clustering.normalize(output.features)
            if config.clustering.normalize_features
            else output.features
        )
        sums = clustering.class_sums(features, labels, model.num_classes)
        centers = sums if centers is None else centers + sums
        own = jnp.where(batch["mask"], cross_entropy(jnp.asarray(output.logits), labels), 0.0)
        entropies = entropies + own.sum()
    centers, entropies = processes.total(centers, None if centers is None else entropies)
    return centers, float(entropies) / len(data.sets[source])


def target_features(*, variables, data, config, model, name):
    """(features of every target image in order: float32 [N_t, D]; the classes that the head gives
    them: int32 [N_t]); evaluation mode, target statistics, training views.

    The features stand in memory once: 5 GB for DomainNet's 600,000 images and 2,048 features.
    """
    norm_set, size = config.target_bn, len(data.sets["target"])
    embed, features, predictions = inference(model, norm_set, data.devices), None, None
    for batch in data.sequence(
        "target", config.clustering.batch_size, views="train", name=f"{name} target"
    ):
        output, places = embed(variables, batch["image"]), batch["index"][batch["mask"]]
        found = output.features
        found = np.asarray(
            clustering.normalize(found) if config.clustering.normalize_features else found
        )[batch["mask"]]
        if features is None:
            features, predictions = aligned_empty((size, found.shape[1])), np.zeros(size, np.int32)
            if processes.count() > 1:  # the rows of the others
                features[:] = 0
        features[places] = found
        predictions[places] = np.asarray(output.logits).argmax(-1)[batch["mask"]]
    features, predictions = processes.total(features, predictions)
    # jnp.asarray would copy the features, on a CPU too
    return jax.device_put(features), predictions


class Clusters(NamedTuple):
    """The k-means of the target that one source's centres began.

    Attributes:
      kmeans: clustering.KMeans; matching: int32 [K], cluster -> class.
      centers: float32 [K, D], of the cluster that stands for each class.
      center_change: mean distance between these and the source's.
    """

    kmeans: clustering.KMeans
    matching: np.ndarray
    centers: jax.Array
    center_change: float


def cluster(features, init_centers, settings):
    """k-means of the target's features from a source's centres, its clusters matched to classes."""
    kmeans = clustering.cosine_kmeans(
        features,
        init_centers,
        eps=settings.eps,
        max_updates=settings.max_updates,
        chunk_size=settings.chunk_size,
    )
    matching = clustering.match_clusters(kmeans.centers, init_centers)
    centers = kmeans.centers[np.argsort(matching)]
    return Clusters(
        kmeans, matching, centers, float(clustering.mean_center_move(centers, init_centers))
    )
