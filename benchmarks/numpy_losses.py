"""Losses over pairs of rows as a numpy user would write them: distances from one Gram matrix,
gradients in closed form.
"""

import numpy as np

KERNEL_NUM, KERNEL_MUL, CLIP = 5, 2.0, (1e-5, 1e5)  # CAN's configs; discrepancy/cdd.py
ALPHAS = (0.125, 0.25, 0.5, 1.0, 2.0)  # tllib, examples dan.py and jan.py
PROBABILITY_SIGMA = 0.92  # tllib, examples jan.py


def gram_distances(rows):
    """Squared distances between all rows: [N, d] -> [N, N]."""
    squares = np.einsum("nd,nd->n", rows, rows)
    distances = np.maximum(squares[:, None] + squares[None] - 2.0 * (rows @ rows.T), 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def rows_gradient(rows, slopes):
    """The gradient by the rows, of a value whose derivative by the distance of rows i and j is
    slopes[i, j].
    """
    slopes = slopes + slopes.T
    return 2.0 * (slopes.sum(1, keepdims=True) * rows - slopes @ rows)


def numpy_kernel(distances, bandwidth):
    """The multi-bandwidth kernel and its derivative by the distance; both shaped as their
    broadcast.
    """
    value, slope = np.float32(0.0), np.float32(0.0)
    for u in range(KERNEL_NUM):
        scaled = np.maximum(
            bandwidth * np.float32(KERNEL_MUL ** (u - KERNEL_NUM // 2)), np.float32(CLIP[0])
        )
        exponent = distances / scaled
        part = np.exp(-np.clip(exponent, *CLIP))
        value = value + part
        slope = slope - part / scaled * ((exponent > CLIP[0]) & (exponent < CLIP[1]))
    return value, slope


def numpy_cdd_layer(source, target, num_classes):
    """One layer's CDD and its gradients, by hand: every distance comes from one Gram matrix, every
    gradient from one product.
    """
    classes, n, width = source.shape
    stacked = np.concatenate([source.reshape(-1, width), target.reshape(-1, width)])
    distances = gram_distances(stacked)
    blocks = distances.reshape(2, classes, n, 2, classes, n)
    same = np.arange(classes)
    d_ss, d_tt = blocks[0, same, :, 0, same], blocks[1, same, :, 1, same]  # [C, n, n]
    d_st = blocks[0, :, :, 1].transpose(0, 2, 1, 3)  # [C, C, n, n]
    spread = d_ss.sum((1, 2))[:, None] + d_tt.sum((1, 2))[None] + 2.0 * d_st.sum((2, 3))
    bandwidth = (spread / np.float32(2 * n * (2 * n - 1)))[:, :, None, None]
    # Weight of D_ab: 1 / M within a class, -1 / (M (M - 1)) between two; a mean over n x n pairs.
    pair_weight = (
        np.where(
            np.eye(classes, dtype=bool), 1.0 / num_classes, -1.0 / (num_classes * (num_classes - 1))
        )
        / n**2
    )
    pair_weight = pair_weight.astype(np.float32)[:, :, None, None]
    (k_ss, slope_ss), (k_tt, slope_tt), (k_st, slope_st) = (
        numpy_kernel(d, bandwidth) for d in (d_ss[:, None], d_tt[None], d_st)
    )
    value = (pair_weight * (k_ss + k_tt - 2.0 * k_st)).sum()

    slopes = np.zeros_like(blocks)  # d value / d distance
    slopes[0, same, :, 0, same] = (pair_weight * slope_ss).sum(1)
    slopes[1, same, :, 1, same] = (pair_weight * slope_tt).sum(0)
    slopes[0, :, :, 1] = (-2.0 * pair_weight * slope_st).transpose(0, 2, 1, 3)
    grad = rows_gradient(stacked, slopes.reshape(distances.shape))
    return value, *np.split(grad.reshape(2 * classes, n, width), 2)


def numpy_gaussians(distances, spread):
    """MK-MMD's kernel and its derivative by the distance."""
    value, slope = np.float32(0.0), np.float32(0.0)
    for alpha in ALPHAS:
        rate = np.float32(1.0 / (2.0 * alpha * spread))
        part = np.exp(-rate * distances)
        value, slope = value + part, slope - rate * part
    return value, slope


def numpy_quadratic(layers, pair_weights):
    """DAN's MK-MMD of one layer, JAN's JMMD of two (features, probabilities): the value and a
    gradient for each layer.

    Args:
      layers: [2 n, d] each, source then target; pair_weights: [2 n, 2 n], see `quadratic_weights`.
    """
    distances = gram_distances(layers[0])
    kernels = [numpy_gaussians(distances, distances.mean())]
    if len(layers) > 1:
        rate = np.float32(1.0 / (2.0 * PROBABILITY_SIGMA**2))
        kernel = np.exp(-rate * gram_distances(layers[1]))
        kernels.append((kernel, -rate * kernel))
    return _sum_of_kernels(layers, kernels, pair_weights, joint=True)


def quadratic_weights(n):
    """What a pair of rows counts in the unbiased estimate: [2 n, 2 n]."""
    within = (1.0 - np.eye(n)) / (n * (n - 1))
    across = np.full((n, n), -1.0 / n**2)
    return np.block([[within, across], [across, within]]).astype(np.float32)


def numpy_can_mmd(layers, pair_weights, *, joint):
    """The MMD of CAN's repository, or its JMMD: arguments and results as `numpy_quadratic`; the
    biased estimate's pair_weights.
    """
    kernels = []
    for rows in layers:
        distances = gram_distances(rows)
        kernels.append(
            numpy_kernel(distances, distances.sum() / np.float32(len(rows) * (len(rows) - 1)))
        )
    return _sum_of_kernels(layers, kernels, pair_weights, joint=joint)


def biased_weights(n):
    """What a pair of rows counts in the biased estimate: [2 n, 2 n]."""
    signs = np.repeat(np.array([1.0 / n, -1.0 / n], np.float32), n)
    return np.outer(signs, signs)


def _sum_of_kernels(layers, kernels, pair_weights, *, joint):
    if not joint or len(kernels) == 1:
        value = sum((pair_weights * kernel).sum() for kernel, _ in kernels)
        return value, [
            rows_gradient(rows, pair_weights * slope)
            for rows, (_, slope) in zip(layers, kernels, strict=True)
        ]
    (first, first_slope), (second, second_slope) = kernels
    slopes = first_slope * second, first * second_slope
    return (pair_weights * first * second).sum(), [
        rows_gradient(rows, pair_weights * slope)
        for rows, slope in zip(layers, slopes, strict=True)
    ]


def numpy_linear(rows):
    """DAN's linear statistic, in time linear in the rows: only neighbours' distances, and the mean
    of all distances from the variance.

    Args:
      rows: [2 n, d], source then target.
    """
    n = len(rows) // 2
    centred = rows - rows.mean(0)
    spread = 2.0 * np.einsum("nd,nd->", centred, centred) / len(rows)
    after = (np.arange(n) + 1) % n
    here = np.arange(n)
    grad, value = np.zeros_like(rows), 0.0
    for left, right, sign in (
        (here, after, 1.0),
        (n + here, n + after, 1.0),
        (here, n + after, -1.0),
        (after, n + here, -1.0),
    ):
        differences = rows[left] - rows[right]  # [n, d]
        kernel, slope = numpy_gaussians(np.einsum("nd,nd->n", differences, differences), spread)
        value += sign / n * kernel.sum()
        differences *= np.float32(2.0 * sign / n) * slope[:, None]
        grad[left] += differences  # no row stands twice in `left` or in `right`
        grad[right] -= differences
    return value, [grad]
