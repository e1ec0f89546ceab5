"""CDD and the mean discrepancies of DAN, JAN and CAN's repository, value and gradient, against
numpy with gradients by hand.
"""

import functools

import numpy as np

from benchmarks import numpy_losses
from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import jax_compiled
from benchmarks.race import Prepared

TITLE = "CDD and MMD, value and gradient, against numpy"
MINUTES = 1.5
NEEDS = ("threadpoolctl",)  # comes with scikit-learn

# relative to the largest entry; float32 on both sides
AGREE = functools.partial(largest_difference, tolerance=1e-4)
KINDS = ("DAN, quadratic", "DAN, linear", "JAN, quadratic", "CAN's MMD", "CAN's JMMD")
# {title: settings}: the class-aware batches of configs/can.py, pooled ResNet features and class
# probabilities
CDD_CASES = {
    "CDD, VisDA-2017's batch": dict(num_classes=12, batch_classes=6, rows=10, widths=(2048, 12)),
    "CDD, DomainNet's batch": dict(num_classes=345, batch_classes=10, rows=6, widths=(2048, 345)),
}
QUICK_CDD_CASES = {"CDD": dict(num_classes=4, batch_classes=2, rows=3, widths=(16, 4))}
# 32: configs/dan.py, configs/jan.py; 512: where the work is in the products
MMD_ROWS, QUICK_MMD_ROWS = (32, 512), (8,)
MMD_WIDTHS, QUICK_MMD_WIDTHS = (2048, 345), (16, 9)  # DomainNet's


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    rows, widths = (QUICK_MMD_ROWS, QUICK_MMD_WIDTHS) if is_quick else (MMD_ROWS, MMD_WIDTHS)
    cdd = [
        Case(title, CDD, settings, calls=20, repeats=5, agree=AGREE)
        for title, settings in (QUICK_CDD_CASES if is_quick else CDD_CASES).items()
    ]
    mmd = [
        Case(
            f"{kind}, 2 x {count}",
            MMD,
            dict(kind=kind, rows=count, widths=widths),
            calls=max(1, 640 // count),
            repeats=5,
            agree=AGREE,
        )
        for count in rows
        for kind in KINDS
    ]
    return cdd + mmd


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
    """As AGREE compares it; grads: lists, one array a layer."""
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
        return jax_compiled(
            jax.value_and_grad(loss), (layers,), lambda out: loss_answer(out[0], *out[1])
        )

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
        return jax_compiled(jax.value_and_grad(loss), (layers,), lambda out: loss_answer(*out))

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


CDD = {"numpy": numpy_cdd, "dajax": dajax_cdd}
MMD = {"numpy": numpy_mmd, "dajax": dajax_mmd}
