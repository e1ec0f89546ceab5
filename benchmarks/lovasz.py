"""Lovász-softmax, forward and backward, against torch and against the usual way to write it in JAX.

    python benchmarks/lovasz.py [--size 730] [--repeats 5] [--threads 0] [--quick]

"given probabilities": the loss and its gradient with respect to [1, 730, 730, 19] probabilities.
"from logits": also the bilinear up-sampling of 92 x 92 logits and the softmax, on the way there and
back, the same work for all. "argsort": jnp.argsort of the errors, class after class. Each contender
runs in a process of its own, repeats interleaved; the last column has the CPU seconds of a call,
the median too, which a busy machine falsifies less than the time. Memory is the process's peak
beyond its data. Without torch its line is left out: `pip install torch`.
"""

import argparse
import functools
import importlib.util
import os
import pathlib
import statistics
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.harness import Prepared, markdown_table, race, table_row

CLASSES = 19
VOID = 255


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

        compiled = jax.jit(jax.value_and_grad(of)).lower(start).compile()
        return lambda: {"loss": jax.block_until_ready(compiled(start))[0]}

    return Prepared(build, jax.devices()[0])


def dajax_loss(size, from_logits, threads):
    from dajax.losses.lovasz import lovasz_softmax

    return in_jax(size, from_logits, lovasz_softmax)


def argsort_loss(size, from_logits, threads):
    return in_jax(size, from_logits, argsort_lovasz)


def torch_loss(size, from_logits, threads):
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads or torch.get_num_threads())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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

    return Prepared(lambda: run)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", type=int, default=730, help="height and width of the label; PLCA's crop"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 for its own choice")
    parser.add_argument(
        "--quick", action="store_true", help="64x64: does everything run? The times mean nothing"
    )
    args = parser.parse_args()
    size = 64 if args.quick else args.size
    contenders = {"dajax": dajax_loss, "argsort": argsort_loss}
    if importlib.util.find_spec("torch"):
        contenders["torch"] = torch_loss
    measure = functools.partial(race, contenders, repeats=args.repeats, calls=1)
    rows = []
    for case, from_logits in (("given probabilities", False), ("from logits", True)):
        results = measure(dict(size=size, from_logits=from_logits, threads=args.threads))
        ours = results["dajax"]
        for name, result in results.items():
            remark = (
                f"loss {float(result.answer['loss']):.6f}, CPU"
                f" {statistics.median(result.cpu_seconds):.3g} s"
            )
            rows.append(table_row(f"{case}, {size}x{size}", name, result, ours, remark))
    print(
        f"dajax on {ours.device}; {os.cpu_count()} CPU cores; median of {args.repeats} interleaved"
        " repeats\n"
    )
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
