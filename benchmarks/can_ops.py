"""CAN's two own operations, CDD and cosine k-means, against what numpy and scikit-learn users would write.

    python benchmarks/can_ops.py [--cases cdd,kmeans_visda,kmeans_domainnet] [--repeats 3] [--quick]

Every contender runs in its own process with the same seeded synthetic data. Time is the median of interleaved repeats, without
compilation; memory is the peak beyond the features themselves. The full run takes 6 GB and a few minutes on two cores.
"""

import argparse
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.harness import Prepared, markdown_table, race, table_row  # noqa: E402
from dajax.ops.host_arrays import aligned_empty  # noqa: E402

# `separation`: of the clusters, against noise of 1 along any direction. More, and scikit-learn converges and stops before the last
# update; less, and so many rows lie on borders that the rounding of float32 moves more than 1 - MIN_EQUAL_LABELS of them.
CASES = {
    # The class-aware batch of VisDA-2017 (configs/can.py): pooled ResNet features and class probabilities.
    "cdd": dict(num_classes=12, batch_classes=6, rows=10, widths=(2048, 12)),
    "kmeans_visda": dict(rows=55_388, width=2048, num_classes=12, separation=5.0, updates=5),  # the target images; ResNet-101
    "kmeans_domainnet": dict(rows=600_000, width=512, num_classes=345, separation=7.0, updates=3),  # all six domains; ResNet-18 or -34
}
QUICK_CASES = {
    "cdd": dict(num_classes=4, batch_classes=2, rows=3, widths=(16, 4)),
    "kmeans_visda": dict(rows=3000, width=32, num_classes=5, separation=5.0, updates=2),
    "kmeans_domainnet": dict(rows=2500, width=16, num_classes=9, separation=5.0, updates=2),
}
KERNEL_NUM, KERNEL_MUL, CLIP = 5, 2.0, (1e-5, 1e5)  # the authors' configs; discrepancy/cdd.py
NUMPY_CHUNK = 4096  # rows; the fastest of 256 ... 4096 and no chunks for numpy with OpenBLAS at both sizes
MAX_CDD_DIFFERENCE = 1e-4  # relative to the largest entry; float32 on both sides
MIN_EQUAL_LABELS = 0.9999  # rows on the border between two clusters may fall either way


def cdd_data(batch_classes, rows, widths):
    """Source and target layers, float32 [C, n, d] each: features that are never negative, then probabilities."""
    rng, shape = np.random.default_rng(0), (2, batch_classes, rows)
    features = np.maximum(rng.standard_normal((*shape, widths[0]), np.float32) + 0.3, 0.0)
    probs = np.exp(2.0 * rng.standard_normal((*shape, widths[1]), np.float32))
    probs /= probs.sum(-1, keepdims=True)
    return [features[0], probs[0]], [features[1], probs[1]]


def cdd_answer(value, source_grads, target_grads):
    return {"value": value} | {f"grad{i}": grad for i, grad in enumerate([*source_grads, *target_grads])}


def dajax_cdd(num_classes, batch_classes, rows, widths):
    import jax
    from dajax.losses.cdd import cdd

    layers = jax.device_put(cdd_data(batch_classes, rows, widths))
    mask = jax.device_put(np.ones((batch_classes, rows), bool))

    def loss(layers):
        kernels = dict(kernel_num=(KERNEL_NUM,) * len(widths), kernel_mul=(KERNEL_MUL,) * len(widths))
        return cdd(*layers, mask, mask, num_classes=num_classes, **kernels).total

    def build():
        value_and_grad = jax.jit(jax.value_and_grad(loss)).lower(layers).compile()

        def run():
            value, grads = jax.block_until_ready(value_and_grad(layers))
            return cdd_answer(value, *grads)

        return run

    return Prepared(build, jax.devices()[0])


def numpy_kernel(distances, bandwidth):
    """The multi-bandwidth kernel and its derivative by the distance; both shaped as their broadcast."""
    value, slope = np.float32(0.0), np.float32(0.0)
    for u in range(KERNEL_NUM):
        scaled = np.maximum(bandwidth * np.float32(KERNEL_MUL ** (u - KERNEL_NUM // 2)), np.float32(CLIP[0]))
        exponent = distances / scaled
        part = np.exp(-np.clip(exponent, *CLIP))
        value = value + part
        slope = slope - part / scaled * ((exponent > CLIP[0]) & (exponent < CLIP[1]))
    return value, slope


def numpy_cdd_layer(source, target, num_classes):
    """One layer's CDD and its gradients, by hand: every distance comes from one Gram matrix, every gradient from one product."""
    classes, n, width = source.shape
    stacked = np.concatenate([source.reshape(-1, width), target.reshape(-1, width)])
    squares = np.einsum("nd,nd->n", stacked, stacked)
    distances = np.maximum(squares[:, None] + squares[None] - 2.0 * (stacked @ stacked.T), 0.0)
    np.fill_diagonal(distances, 0.0)
    blocks = distances.reshape(2, classes, n, 2, classes, n)
    same = np.arange(classes)
    d_ss, d_tt = blocks[0, same, :, 0, same], blocks[1, same, :, 1, same]  # [C, n, n]
    d_st = blocks[0, :, :, 1].transpose(0, 2, 1, 3)  # [C, C, n, n]
    spread = d_ss.sum((1, 2))[:, None] + d_tt.sum((1, 2))[None] + 2.0 * d_st.sum((2, 3))
    bandwidth = (spread / np.float32(2 * n * (2 * n - 1)))[:, :, None, None]
    # Weight of D_ab: 1 / M within a class, -1 / (M (M - 1)) between two; a mean over n x n pairs.
    pair_weight = np.where(np.eye(classes, dtype=bool), 1.0 / num_classes, -1.0 / (num_classes * (num_classes - 1))) / n**2
    pair_weight = pair_weight.astype(np.float32)[:, :, None, None]
    (k_ss, slope_ss), (k_tt, slope_tt), (k_st, slope_st) = (numpy_kernel(d, bandwidth) for d in (d_ss[:, None], d_tt[None], d_st))
    value = (pair_weight * (k_ss + k_tt - 2.0 * k_st)).sum()

    slopes = np.zeros_like(blocks)  # d value / d distance
    slopes[0, same, :, 0, same] = (pair_weight * slope_ss).sum(1)
    slopes[1, same, :, 1, same] = (pair_weight * slope_tt).sum(0)
    slopes[0, :, :, 1] = (-2.0 * pair_weight * slope_st).transpose(0, 2, 1, 3)
    slopes = slopes.reshape(distances.shape)
    slopes = slopes + slopes.T
    grad = 2.0 * (slopes.sum(1, keepdims=True) * stacked - slopes @ stacked)
    return value, *np.split(grad.reshape(2 * classes, n, width), 2)


def numpy_cdd(num_classes, batch_classes, rows, widths):
    import threadpoolctl  # comes with scikit-learn

    source, target = cdd_data(batch_classes, rows, widths)
    threadpoolctl.threadpool_limits(1)  # at these sizes a second BLAS thread only makes the first wait, up to 10 times as long

    def run():
        values, source_grads, target_grads = zip(*(numpy_cdd_layer(s, t, num_classes) for s, t in zip(source, target)))
        return cdd_answer(sum(values), source_grads, target_grads)

    return Prepared(lambda: run)


def kmeans_data(rows, width, num_classes, separation):
    """Clustered features that are never negative, float32 [N, D], and initial centres off the true ones, [C, D]."""
    rng = np.random.default_rng(0)
    true_centers = rng.standard_normal((num_classes, width), np.float32)
    labels = rng.integers(0, num_classes, rows)
    features = aligned_empty((rows, width))
    for start in range(0, rows, 128):  # in blocks: a second copy, even for a moment, would hide the peak of what is measured
        part = features[start : start + 128]
        rng.standard_normal(out=part, dtype=np.float32)
        part += np.float32(separation / width**0.5) * true_centers[labels[start : start + 128]]
        np.maximum(part, 0.0, out=part)
    centers = np.maximum(true_centers + rng.standard_normal(true_centers.shape, np.float32), 0.0)
    return features, centers


def dajax_kmeans(rows, width, num_classes, separation, updates):
    import jax
    from dajax.ops.clustering import cosine_kmeans

    features, centers = jax.block_until_ready(jax.device_put(kmeans_data(rows, width, num_classes, separation)))

    def build():
        compiled = cosine_kmeans.lower(features, centers, eps=-1.0, max_updates=updates).compile()  # below every move: never stops early

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
                labels[start : start + NUMPY_CHUNK] = np.matmul(part, unit, out=scores[: len(part)]).argmax(1)
                if update < updates:
                    members = np.ones(len(part), np.float32), labels[start : start + NUMPY_CHUNK], np.arange(len(part) + 1)
                    sums += scipy.sparse.csr_matrix(members, (len(part), num_classes)).T @ part
            if update < updates:
                centers = np.where(np.bincount(labels, minlength=num_classes)[:, None] > 0, sums, init_centers)
        return {"labels": labels, "updates": updates}

    return Prepared(lambda: run)


def sklearn_kmeans(rows, width, num_classes, separation, updates):
    """The nearest that the library offers: Euclidean k-means on rows of length 1, normalised before the clock starts."""
    import sklearn.cluster

    features, centers = kmeans_data(rows, width, num_classes, separation)
    for array in (features, centers):
        array /= np.maximum(np.sqrt(np.einsum("nd,nd->n", array, array)), 1e-12)[:, None]

    def run():
        kmeans = sklearn.cluster.KMeans(num_classes, init=centers, n_init=1, max_iter=updates, tol=0.0, algorithm="lloyd", copy_x=False)
        kmeans.fit(features)
        return {"labels": kmeans.labels_, "updates": kmeans.n_iter_}

    return Prepared(lambda: run)


def cdd_agreement(ours, theirs):
    """The largest difference of any entry of the value or a gradient, over that array's largest entry; and whether that will do."""
    worst = max(float(np.abs(ours[key] - theirs[key]).max() / np.abs(ours[key]).max()) for key in ours)
    return f"differs by {worst:.0e}", worst <= MAX_CDD_DIFFERENCE


def kmeans_agreement(ours, theirs):
    """The fraction of rows with the same label; and whether that will do."""
    equal = float(np.mean(ours["labels"] == theirs["labels"]))
    return f"{equal:.3%} of labels equal; {int(theirs['updates'])} updates", equal >= MIN_EQUAL_LABELS


def measure(case, settings, repeats):
    """One case's rows of the table, the device dajax used, and whether dajax and numpy agree."""
    contenders = {"dajax": dajax_kmeans, "numpy": numpy_kmeans, "scikit-learn (Euclidean, rows of length 1)": sklearn_kmeans}
    if case == "cdd":
        contenders = {"dajax": dajax_cdd, "numpy": numpy_cdd}
    agreement = cdd_agreement if case == "cdd" else kmeans_agreement
    results = race(contenders, settings, repeats=repeats, calls=20 if case == "cdd" else 1)  # CDD takes milliseconds
    ours, rows, agrees = results["dajax"], [], True
    for name, result in results.items():
        remark, is_close = agreement(ours.answer, result.answer)
        agrees &= is_close or name.startswith("scikit-learn")  # another distance: its labels may differ
        rows.append(table_row(case, name, result, ours, remark))
    return rows, ours.device, agrees


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run and agree? The times mean nothing")
    args = parser.parse_args()
    cases = args.cases.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"unknown case {sorted(unknown)[0]!r}; known: {', '.join(CASES)}")

    table, wrong = [], []
    for case in cases:
        rows, device, agrees = measure(case, (QUICK_CASES if args.quick else CASES)[case], args.repeats)
        table += rows
        wrong += [] if agrees else [case]
    print(f"dajax on {device}; {os.cpu_count()} CPU cores; median of {args.repeats} interleaved repeats\n")
    print(markdown_table(table))
    sys.exit(f"dajax and numpy disagree: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
