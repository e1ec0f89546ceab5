"""Contenders of the benchmarks of kernel losses: CDD and the mean discrepancies, value and
gradient, by dajax and by numpy with gradients by hand.
"""

import numpy as np

from benchmarks import numpy_losses
from benchmarks.harness import Prepared

MAX_DIFFERENCE = 1e-4  # relative to the largest entry; float32 on both sides


def cdd_data(batch_classes, rows, widths):
    """Source and target layers, float32 [C, n, d] each: features that are never negative, then
    probabilities.
    """
    rng, shape = np.random.default_rng(0), (2, batch_classes, rows)
    features = np.maximum(rng.standard_normal((*shape, widths[0]), np.float32) + 0.3, 0.0)
    probs = np.exp(2.0 * rng.standard_normal((*shape, widths[1]), np.float32))
    probs /= probs.sum(-1, keepdims=True)
    return [features[0], probs[0]], [features[1], probs[1]]


def loss_answer(value, *grads):
    """As `loss_agreement` compares it; grads: lists, one array a layer."""
    return {"value": value} | {
        f"grad{i}": grad for i, grad in enumerate(grad for part in grads for grad in part)
    }


def dajax_cdd(num_classes, batch_classes, rows, widths):
    import jax

    from dajax.losses.cdd import cdd

    layers = jax.device_put(cdd_data(batch_classes, rows, widths))
    mask = jax.device_put(np.ones((batch_classes, rows), bool))

    def loss(layers):
        kernels = dict(
            kernel_num=(numpy_losses.KERNEL_NUM,) * len(widths),
            kernel_mul=(numpy_losses.KERNEL_MUL,) * len(widths),
        )
        return cdd(*layers, mask, mask, num_classes=num_classes, **kernels).total

    def build():
        value_and_grad = jax.jit(jax.value_and_grad(loss)).lower(layers).compile()

        def run():
            value, grads = jax.block_until_ready(value_and_grad(layers))
            return loss_answer(value, *grads)

        return run

    return Prepared(build, jax.devices()[0])


def numpy_cdd(num_classes, batch_classes, rows, widths):
    import threadpoolctl  # comes with scikit-learn

    source, target = cdd_data(batch_classes, rows, widths)
    # at these sizes a second BLAS thread only makes the first wait, up to 10 times as long
    threadpoolctl.threadpool_limits(1)

    def run():
        values, source_grads, target_grads = zip(
            *(
                numpy_losses.numpy_cdd_layer(s, t, num_classes)
                for s, t in zip(source, target, strict=True)
            ),
            strict=True,
        )
        return loss_answer(sum(values), source_grads, target_grads)

    return Prepared(lambda: run)


def mmd_data(kind, rows, widths):
    """Layers of both domains, float32 [2 n, d] each, source then target; DAN has features
    only.
    """
    source, target = cdd_data(1, rows, widths)
    # else the domains are one, and the value is rounding
    target[0] = 1.2 * target[0] + np.float32(0.1)
    target[1] = np.roll(target[1], 1, axis=-1) ** 2
    target[1] /= target[1].sum(-1, keepdims=True)
    layers = [
        np.concatenate([s[0], t[0]]).astype(np.float32) for s, t in zip(source, target, strict=True)
    ]
    return layers[:1] if kind.startswith("DAN") else layers


def dajax_mmd(kind, rows, widths):
    import jax

    from dajax.losses import mmd

    layers, mask = jax.device_put((mmd_data(kind, rows, widths), np.ones(rows, bool)))

    def loss(layers):
        source, target = [x[:rows] for x in layers], [x[rows:] for x in layers]
        if kind.startswith("CAN"):
            kernels = dict(
                kernel_num=(numpy_losses.KERNEL_NUM,) * 2, kernel_mul=(numpy_losses.KERNEL_MUL,) * 2
            )
            return mmd.can_mmd(source, target, mask, mask, joint=kind == "CAN's JMMD", **kernels)
        kernel = mmd.gaussian_kernels(source[0], target[0], mask, mask, alphas=mmd.ALPHAS)
        if kind.startswith("JAN"):
            kernel *= mmd.fixed_kernel(source[1], target[1], sigma=numpy_losses.PROBABILITY_SIGMA)
        return mmd.discrepancy(
            kernel, mask, mask, statistic="linear" if kind == "DAN, linear" else "quadratic"
        )

    def build():
        value_and_grad = jax.jit(jax.value_and_grad(loss)).lower(layers).compile()

        def run():
            value, grads = jax.block_until_ready(value_and_grad(layers))
            return loss_answer(value, grads)

        return run

    return Prepared(build, jax.devices()[0])


def numpy_mmd(kind, rows, widths):
    import threadpoolctl

    layers = mmd_data(kind, rows, widths)
    if rows < 100:
        threadpoolctl.threadpool_limits(1)  # as numpy_cdd
    if kind.startswith("CAN"):
        weights = numpy_losses.biased_weights(rows)
        return Prepared(
            lambda: (
                lambda: loss_answer(
                    *numpy_losses.numpy_can_mmd(layers, weights, joint=kind == "CAN's JMMD")
                )
            )
        )
    if kind == "DAN, linear":
        return Prepared(lambda: lambda: loss_answer(*numpy_losses.numpy_linear(layers[0])))
    weights = numpy_losses.quadratic_weights(rows)
    return Prepared(lambda: lambda: loss_answer(*numpy_losses.numpy_quadratic(layers, weights)))


def loss_agreement(ours, theirs):
    """The largest difference of any entry of the value or a gradient, over that array's largest
    entry; and whether that will do.
    """
    worst = max(
        float(np.abs(ours[key] - theirs[key]).max() / np.abs(ours[key]).max()) for key in ours
    )
    return f"differs by {worst:.0e}", worst <= MAX_DIFFERENCE


CDD = {"dajax": dajax_cdd, "numpy": numpy_cdd}
MMD = {"dajax": dajax_mmd, "numpy": numpy_mmd}
