"""PLCA's association of one pair of images: blocked against stored, and against an equivalent torch
program.

"features" and "probabilities": aggregation of the target, association, loss and both gradients.
"test time": aggregation alone, no gradient. "growth": the blocked form as the grid grows; no array
of L x L pixels is stored, so its memory grows with the pixels.
"""

import functools

import numpy as np

from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import jax_compiled, prepared_torch, torch_device
from benchmarks.race import Prepared
from dajax.ops.host_arrays import aligned_empty

TITLE = "PLCA's association and aggregation, blocked, dense and in torch"
MINUTES = 3.5
NEEDS = ()

# a crop of 730 x 730 at output stride 8
SIDE, QUICK_SIDE = 92, 12
GROWTH_SIDES, QUICK_GROWTH_SIDES = (46, 92, 130), (8, 11)
GROWTH_CHANNELS = 64
CLASSES = 19
ALPHA = 0.5  # spatial aggregation, in the authors' code
# of loss and gradients, relative to the largest entry; float32 on all sides
AGREE = functools.partial(largest_difference, tolerance=1e-3)
# torch, the blocked form, and the one that stores every matrix
IMPLEMENTATIONS = ("blocked", "dense")


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    side, channels = (QUICK_SIDE, 32) if is_quick else (SIDE, 2048)
    square = dict(height=side, width=side)
    features = square | dict(channels=channels, metric="cosine")
    found = [
        # 20 s a call
        _case("features", torch_pair, dajax_pair, features, repeats=2, warm_up=False),
        _case(
            "probabilities",
            torch_pair,
            dajax_pair,
            square | dict(channels=CLASSES, metric="negative_kl"),
        ),
        # 730 x 1460, the frames that are evaluated, at a quarter of the channels
        _case(
            "test time",
            torch_test_time,
            dajax_test_time,
            dict(height=side, width=2 * side - 1, channels=channels // 4, metric="cosine"),
            repeats=2,
        ),
    ]
    sides = QUICK_GROWTH_SIDES if is_quick else GROWTH_SIDES
    growth = {
        f"{side}x{side}, {side**2 / sides[0] ** 2:.1f} times the pixels": functools.partial(
            dajax_pair, height=side, width=side
        )
        for side in sides
    }
    settings = dict(channels=GROWTH_CHANNELS, metric="cosine", implementation="blocked")
    return [*found, Case(f"growth, {GROWTH_CHANNELS} channels", growth, settings, repeats=2)]


def _case(title, in_torch, in_dajax, settings, **how):
    contenders = {"torch": in_torch} | {
        f"dajax, {name}": functools.partial(in_dajax, implementation=name)
        for name in IMPLEMENTATIONS
    }
    size = f"{settings['height']}x{settings['width']}x{settings['channels']}"
    return Case(f"{title}, {size}", contenders, settings, agree=AGREE, **how)


def pair_data(height, width, channels, metric):
    """Source and target, float32 [1, h, w, C], of class-like patches, and the source labels, int32
    [1, h, w].
    """
    rng = np.random.default_rng(0)
    centers = (
        rng.standard_normal((CLASSES, channels), np.float32)
        if metric == "cosine"
        else 4.0 * np.eye(CLASSES, channels, dtype=np.float32)
    )
    labels = (
        rng.integers(0, CLASSES, (2, height // 8 + 1, width // 8 + 1))
        .repeat(8, 1)
        .repeat(8, 2)[:, :height, :width]
    )
    images = []
    for label in labels:
        image = aligned_empty((1, height, width, channels))
        # in rows: a second copy would hide the peak of what is measured
        for row, row_labels in zip(image[0], label, strict=True):
            rng.standard_normal(out=row, dtype=np.float32)
            row += centers[row_labels]
            if metric == "cosine":
                np.maximum(row, 0.0, out=row)
            else:
                np.exp(row, out=row)
                row /= row.sum(-1, keepdims=True)
        images.append(image)
    return *images, labels[:1].astype(np.int32)


def pair_answer(loss, grads):
    """Some of the gradients' entries will do to compare, and fit through a pipe."""
    return {"loss": loss} | {
        f"grad{i}": np.asarray(grad)[:, ::5, ::5] for i, grad in enumerate(grads)
    }


def dajax_pair(height, width, channels, metric, implementation):
    import jax

    from dajax.losses.association import cycle_association
    from dajax.ops.aggregation import aggregate
    from dajax.parallel import masked_mean

    data = jax.block_until_ready(jax.device_put(pair_data(height, width, channels, metric)))
    settings = dict(metric=metric, implementation=implementation)

    def loss(source, target, labels):
        association = cycle_association(
            source, aggregate(target, alpha=ALPHA, **settings), labels, **settings
        )
        return masked_mean(association.values, association.mask)

    return Prepared(
        lambda: jax_compiled(
            jax.value_and_grad(loss, argnums=(0, 1)), data, lambda out: pair_answer(*out)
        ),
        jax.devices()[0],
    )


def torch_weights(query, key, contrast):
    """Logarithm of the row softmax of the similarities."""
    import torch

    matrix = query @ key.T
    if contrast:
        with torch.no_grad():
            deviation, mean = torch.std_mean(matrix, 1, keepdim=True)
        matrix = (matrix - mean) / (deviation + 1e-10)
    return torch.log_softmax(matrix, 1)


def torch_factors(x, metric):
    """Query and key, [L, C] each."""
    import torch

    if metric == "cosine":
        return (torch.nn.functional.normalize(x, dim=1),) * 2
    return x, torch.log(x + 1e-10)


def torch_aggregate(x, metric):
    query, key = torch_factors(x, metric)
    return (1.0 - ALPHA) * x + ALPHA * (torch_weights(query, key, metric == "cosine").exp() @ x)


def torch_pair(height, width, channels, metric):
    import torch

    source, target, labels = (
        torch.from_numpy(x[0]) for x in pair_data(height, width, channels, metric)
    )
    device = torch_device()
    source, target = (x.reshape(-1, channels).to(device).requires_grad_() for x in (source, target))
    labels = labels.reshape(-1).to(device)

    def run():
        source.grad = target.grad = None
        aggregated = torch_aggregate(target, metric)
        (source_query, source_key), (target_query, target_key) = (
            torch_factors(source, metric),
            torch_factors(aggregated, metric),
        )
        there, target_index = torch_weights(source_query, target_key, True).max(1)
        back, source_index = torch_weights(target_query, source_key, True).max(1)
        valid = labels == labels[source_index[target_index]]
        loss = -(there + back[target_index])[valid].mean()
        loss.backward()
        grads = (x.grad.cpu().numpy().reshape(1, height, width, channels) for x in (source, target))
        return pair_answer(loss.item(), grads)

    return prepared_torch(run, device)


def dajax_test_time(height, width, channels, metric, implementation):
    import jax

    from dajax.ops.aggregation import aggregate

    image = jax.block_until_ready(jax.device_put(pair_data(height, width, channels, metric)[0]))

    def aggregated(image):
        return aggregate(image, metric=metric, alpha=ALPHA, implementation=implementation)

    return Prepared(
        lambda: jax_compiled(
            aggregated, (image,), lambda out: {"aggregated": np.asarray(out)[:, ::5, ::5]}
        ),
        jax.devices()[0],
    )


def torch_test_time(height, width, channels, metric):
    import torch

    device = torch_device()
    image = (
        torch.from_numpy(pair_data(height, width, channels, metric)[0])
        .reshape(-1, channels)
        .to(device)
    )

    def run():
        with torch.no_grad():
            out = torch_aggregate(image, metric)
        return {"aggregated": out.cpu().numpy().reshape(1, height, width, channels)[:, ::5, ::5]}

    return prepared_torch(run, device)
