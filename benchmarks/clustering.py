"""CAN's cosine k-means and MSCAN's ensemble of clusterings, against numpy in chunks of rows and
scikit-learn.
"""

import numpy as np

from benchmarks.cases import Case
from benchmarks.contenders import planned_mib
from benchmarks.race import Prepared
from dajax.ops.host_arrays import aligned_empty

TITLE = "cosine k-means and ensembles of clusterings, against numpy and scikit-learn"
MINUTES = 1.5
NEEDS = ("sklearn", "scipy")

# `separation`: of the clusters, against noise of 1 along any direction. More, and scikit-learn
# converges and stops before the last update; less, and so many rows lie on borders that the
# rounding of float32 moves more than 1 - MIN_EQUAL_LABELS of them.
KMEANS_CASES = {
    # the target images; ResNet-101
    "k-means, VisDA-2017, 55,388 x 2048, 12 classes": dict(
        rows=55_388, width=2048, num_classes=12, separation=5.0, updates=5
    )
}
QUICK_KMEANS_CASES = {
    "k-means": dict(rows=3000, width=32, num_classes=5, separation=5.0, updates=2)
}
# a tenth of DomainNet; the group "domainnet" has all of it
ENSEMBLE_DATA = dict(rows=60_000, width=512, num_classes=345, separation=7.0)
QUICK_ENSEMBLE_DATA = dict(rows=3000, width=32, num_classes=9, separation=7.0)
SKLEARN = "scikit-learn (Euclidean, rows of length 1)"
# rows; the fastest of 256 ... 4096 and no chunks for numpy with OpenBLAS at both sizes of
# KMEANS_CASES and of domainnet.py
NUMPY_CHUNK = 4096
MIN_EQUAL_LABELS = 0.9999  # rows on the border between two clusters may fall either way
MAX_DISTANCE_DIFFERENCE = 1e-5  # distances lie in [0, 1]; float32 on both sides


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    kmeans = [
        kmeans_case(title, settings)
        for title, settings in (QUICK_KMEANS_CASES if is_quick else KMEANS_CASES).items()
    ]
    return kmeans + ensemble_cases(
        QUICK_ENSEMBLE_DATA if is_quick else ENSEMBLE_DATA, 512 if is_quick else 4096
    )


def kmeans_case(title, settings, **how):
    """The race of one size; scikit-learn measures another distance, so its labels may differ."""
    return Case(title, KMEANS, settings, agree=labels_agreement, unchecked=(SKLEARN,), **how)


def ensemble_cases(data, chunk_size, **how):
    """One race a rule, of five clusterings."""
    return [
        Case(
            f'ensemble of 5, rule "{rule}", {data["rows"]:,} x {data["width"]}',
            ENSEMBLE,
            data | dict(rule=rule, clusterings=5, chunk_size=chunk_size),
            agree=labels_agreement,
            **how,
        )
        for rule in ("mean", "vote")
    ]


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
        planned = planned_mib(compiled)

        def run():
            out = jax.block_until_ready(compiled(features, centers, eps=-1.0))
            return {"labels": out.labels, "updates": out.num_updates} | planned

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
        planned = planned_mib(compiled)

        def run():
            labels, distances = jax.block_until_ready(compiled(features, centers))
            return {"labels": labels, "distances": distances} | planned

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


KMEANS = {"numpy": numpy_kmeans, "dajax": dajax_kmeans, SKLEARN: sklearn_kmeans}
ENSEMBLE = {"numpy": numpy_ensemble, "dajax": dajax_ensemble}
