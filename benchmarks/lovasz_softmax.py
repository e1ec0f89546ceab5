"""Lovász-softmax, forward and backward, against torch and against the usual way to write it in JAX.

"given probabilities": the loss and its gradient with respect to [1, 730, 730, 19] probabilities.
"from logits": also the bilinear up-sampling of 92 x 92 logits and the softmax, on the way there and
back, the same work for all. "jnp.argsort": of the errors, class after class.
"""

import functools

import numpy as np

from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import jax_compiled, prepared_torch, torch_device
from benchmarks.race import Prepared

TITLE = "Lovász-softmax, forward and backward, against torch and jnp.argsort"
MINUTES = 1
NEEDS = ()

SIZE, QUICK_SIZE = 730, 64  # of the label, PLCA's crop
CLASSES = 19
VOID = 255


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    size = QUICK_SIZE if is_quick else SIZE
    return [
        Case(
            f"{title}, {size}x{size}",
            {"torch": torch_loss, "dajax": dajax_loss, "jnp.argsort": argsort_loss},
            dict(size=size, from_logits=from_logits),
            agree=functools.partial(largest_difference, tolerance=1e-4),  # float32 in all
        )
        for title, from_logits in (("given probabilities", False), ("from logits", True))
    ]


def logits_and_labels(size):
    """float32 [1, h, h, K] at output stride 8, and int32 [1, size, size] in blocks, some void."""
    rng, small = np.random.default_rng(0), (size + 7) // 8
    logits = 2.0 * rng.standard_normal((1, small, small, CLASSES), np.float32)
    labels = (
        rng.integers(0, CLASSES, (1, size // 16 + 1, size // 16 + 1))
        .repeat(16, 1)
        .repeat(16, 2)[:, :size, :size]
    )
    labels[:, : size // 8] = VOID
    return logits, labels.astype(np.int32)


def argsort_lovasz(probabilities, labels, valid):
    """As one writes it: sort, differences of the Jaccard loss, which count as constant; classes in
    turn, for the memory's sake.
    """
    import jax
    import jax.numpy as jnp

    def of_class(args):
        k, probability = args
        is_class = ((labels == k) & valid).ravel()
        errors = jnp.where(valid.ravel(), jnp.abs(is_class - probability), 0.0)
        order = jnp.argsort(-jax.lax.stop_gradient(errors))
        hits = is_class[order].astype(jnp.float32)
        count = hits.sum()
        jaccard = 1.0 - (count - jnp.cumsum(hits)) / (count + jnp.cumsum(1.0 - hits))
        increments = jnp.diff(jaccard, prepend=0.0)
        return jnp.where(count > 0, (errors[order] * increments).sum(), 0.0), count > 0

    by_class = jnp.moveaxis(probabilities, -1, 0).reshape(CLASSES, -1)
    losses, present = jax.lax.map(of_class, (jnp.arange(CLASSES, dtype=labels.dtype), by_class))
    return losses.sum() / present.sum()


def in_jax(size, from_logits, loss):
    import jax

    from dajax.ops.resize import resize_bilinear

    logits, labels = (jax.device_put(x) for x in logits_and_labels(size))
    valid = labels != VOID

    def upsampled(logits):
        return jax.nn.softmax(resize_bilinear(logits, (size, size), align_corners=False))

    start = logits if from_logits else jax.jit(upsampled)(logits)

    def build():
        def of(x):
            return loss(upsampled(x) if from_logits else x, labels, valid)

        return jax_compiled(jax.value_and_grad(of), (start,), lambda out: {"loss": out[0]})

    return Prepared(build, jax.devices()[0])


def dajax_loss(size, from_logits):
    from dajax.losses.lovasz import lovasz_softmax

    return in_jax(size, from_logits, lovasz_softmax)


def argsort_loss(size, from_logits):
    return in_jax(size, from_logits, argsort_lovasz)


def torch_loss(size, from_logits):
    import torch
    from torch.nn import functional

    device = torch_device()
    logits, labels = logits_and_labels(size)
    logits = torch.from_numpy(logits.transpose(0, 3, 1, 2).copy()).to(device)
    labels = torch.from_numpy(labels.astype(np.int64)).to(device).flatten()

    def upsampled(x):
        return torch.softmax(
            functional.interpolate(x, (size, size), mode="bilinear", align_corners=False), 1
        )

    start = (logits if from_logits else upsampled(logits)).requires_grad_()

    def loss(probabilities):
        is_valid = labels != VOID
        chosen, of_pixel = (
            probabilities.permute(0, 2, 3, 1).reshape(-1, CLASSES)[is_valid],
            labels[is_valid],
        )
        losses = []
        for k in of_pixel.unique():
            is_class = (of_pixel == k).float()
            errors, order = (is_class - chosen[:, k]).abs().sort(descending=True)
            hits = is_class[order]
            jaccard = 1.0 - (hits.sum() - hits.cumsum(0)) / (hits.sum() + (1.0 - hits).cumsum(0))
            jaccard[1:] = jaccard[1:] - jaccard[:-1]
            losses.append(errors @ jaccard)
        return torch.stack(losses).mean()

    def run():
        start.grad = None
        value = loss(upsampled(start) if from_logits else start)
        value.backward()
        return {"loss": value.item()}

    return prepared_torch(run, device)
