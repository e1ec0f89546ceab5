"""Contenders of the benchmarks of clusterings: dajax, numpy in chunks of rows, scikit-learn."""

import numpy as np

from benchmarks.harness import Prepared
from dajax.ops.host_arrays import aligned_empty

# rows; the fastest of 256 ... 4096 and no chunks for numpy with OpenBLAS at both sizes of
# can_ops.py
NUMPY_CHUNK = 4096
MIN_EQUAL_LABELS = 0.9999  # rows on the border between two clusters may fall either way
MAX_DISTANCE_DIFFERENCE = 1e-5  # distances lie in [0, 1]; float32 on both sides


def kmeans_data(rows, width, num_classes, separation):
    """Clustered features that are never negative, float32 [N, D], and initial centres off the true
    ones, [C, D].
    """
    rng = np.random.default_rng(0)
    true_centers = rng.standard_normal((num_classes, width), np.float32)
    labels = rng.integers(0, num_classes, rows)
    features = aligned_empty((rows, width))
    # in blocks: a second copy, even for a moment, would hide the peak of what is measured
    for start in range(0, rows, 128):
        part = features[start : start + 128]
        rng.standard_normal(out=part, dtype=np.float32)
        part += np.float32(separation / width**0.5) * true_centers[labels[start : start + 128]]
        np.maximum(part, 0.0, out=part)
    centers = np.maximum(true_centers + rng.standard_normal(true_centers.shape, np.float32), 0.0)
    return features, centers


def dajax_kmeans(rows, width, num_classes, separation, updates):
    import jax

    from dajax.ops.clustering import cosine_kmeans

    features, centers = jax.block_until_ready(
        jax.device_put(kmeans_data(rows, width, num_classes, separation))
    )

    def build():
        # below every move: never stops early
        compiled = cosine_kmeans.lower(features, centers, eps=-1.0, max_updates=updates).compile()

        def run():
            out = jax.block_until_ready(compiled(features, centers, eps=-1.0))
            return {"labels": out.labels, "updates": out.num_updates}

        return run

    return Prepared(build, jax.devices()[0])


def numpy_kmeans(rows, width, num_classes, separation, updates):
    import scipy.sparse  # the fastest sum per class; np.add.at takes 20 times as long

    features, init_centers = kmeans_data(rows, width, num_classes, separation)

    def run():
        centers, labels = init_centers, np.empty(rows, np.int32)
        scores = np.empty((NUMPY_CHUNK, num_classes), np.float32)
        for update in range(updates + 1):  # the last round only assigns
            unit = (centers / np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)).T
            sums = np.zeros_like(centers)
            for start in range(0, rows, NUMPY_CHUNK):
                part = features[start : start + NUMPY_CHUNK]
                labels[start : start + NUMPY_CHUNK] = np.matmul(
                    part, unit, out=scores[: len(part)]
                ).argmax(1)
                if update < updates:
                    members = (
                        np.ones(len(part), np.float32),
                        labels[start : start + NUMPY_CHUNK],
                        np.arange(len(part) + 1),
                    )
                    sums += scipy.sparse.csr_matrix(members, (len(part), num_classes)).T @ part
            if update < updates:
                centers = np.where(
                    np.bincount(labels, minlength=num_classes)[:, None] > 0, sums, init_centers
                )
        return {"labels": labels, "updates": updates}

    return Prepared(lambda: run)


def sklearn_kmeans(rows, width, num_classes, separation, updates):
    """The nearest that the library offers: Euclidean k-means on rows of length 1, normalised before
    the clock starts.
    """
    import sklearn.cluster

    features, centers = kmeans_data(rows, width, num_classes, separation)
    for array in (features, centers):
        array /= np.maximum(np.sqrt(np.einsum("nd,nd->n", array, array)), 1e-12)[:, None]

    def run():
        kmeans = sklearn.cluster.KMeans(
            num_classes,
            init=centers,
            n_init=1,
            max_iter=updates,
            tol=0.0,
            algorithm="lloyd",
            copy_x=False,
        )
        kmeans.fit(features)
        return {"labels": kmeans.labels_, "updates": kmeans.n_iter_}

    return Prepared(lambda: run)


def ensemble_data(rows, width, num_classes, separation, clusterings):
    """Features as kmeans_data, and the centres of several clusterings, each off the true ones in
    its own way: float32 [E, K, D].
    """
    features, centers = kmeans_data(rows, width, num_classes, separation)
    noise = np.random.default_rng(1).standard_normal((clusterings, *centers.shape), np.float32)
    return features, np.maximum(centers + noise, 0.0)


def dajax_ensemble(rule, clusterings, chunk_size, **data):
    import jax

    from dajax.ops.clustering_ensemble import ensemble_labels

    features, centers = jax.block_until_ready(
        jax.device_put(ensemble_data(clusterings=clusterings, **data))
    )

    def build():
        compiled = ensemble_labels.lower(
            features, centers, rule=rule, chunk_size=chunk_size
        ).compile()

        def run():
            labels, distances = jax.block_until_ready(compiled(features, centers))
            return {"labels": labels, "distances": distances}

        return run

    return Prepared(build, jax.devices()[0])


def numpy_ensemble(rule, clusterings, chunk_size, **data):
    features, centers = ensemble_data(clusterings=clusterings, **data)
    unit = centers / np.maximum(np.linalg.norm(centers, axis=-1, keepdims=True), 1e-12)  # [E, K, D]

    def run():
        labels, distances = np.empty(len(features), np.int32), np.empty(len(features), np.float32)
        mean_unit = unit.mean(0).T  # its product with a row is the mean of the products
        for start in range(0, len(features), chunk_size):
            part = features[start : start + chunk_size]
            norms = np.maximum(np.sqrt(np.einsum("nd,nd->n", part, part)), 1e-12)
            if rule == "mean":
                score = mean = part @ mean_unit  # [n, K]
            else:
                votes, mean = (
                    np.zeros((len(part), unit.shape[1]), np.float32),
                    np.zeros((len(part), unit.shape[1]), np.float32),
                )
                for own in unit:
                    similarity = part @ own.T
                    votes[np.arange(len(part)), similarity.argmax(1)] += 1.0
                    mean += similarity / np.float32(len(unit))
                score = votes + 0.4 * mean / norms[:, None]  # a vote outweighs any two similarities
            found = score.argmax(1)
            labels[start : start + chunk_size] = found
            distances[start : start + chunk_size] = 0.5 * (
                1.0 - mean[np.arange(len(part)), found] / norms
            )
        return {"labels": labels, "distances": distances}

    return Prepared(lambda: run)


def labels_agreement(ours, theirs):
    """The fraction of rows with the same label; and whether that will do."""
    equal = ours["labels"] == theirs["labels"]
    remark, is_close = f"{equal.mean():.3%} of labels equal", equal.mean() >= MIN_EQUAL_LABELS
    if "distances" in ours:
        worst = np.abs(ours["distances"] - theirs["distances"])[equal].max()
        return (
            f"{remark}; distances differ by {worst:.0e}",
            is_close and worst <= MAX_DISTANCE_DIFFERENCE,
        )
    return f"{remark}; {int(theirs['updates'])} updates", is_close


KMEANS = {
    "dajax": dajax_kmeans,
    "numpy": numpy_kmeans,
    "scikit-learn (Euclidean, rows of length 1)": sklearn_kmeans,
}
ENSEMBLE = {"dajax": dajax_ensemble, "numpy": numpy_ensemble}
