"""PLCA's association of one pair of images: blocked against stored, and against an equivalent torch
program.

    python benchmarks/plca_ops.py [--cases NAME,...] [--repeats 1] [--growth-channels 64] [--quick]

"features" and "probabilities": aggregation of the target, association, loss and both gradients.
"test_time": aggregation alone, no gradient. "growth": memory of the blocked form as the grid grows.
Every contender runs in its own process with the same seeded synthetic data. "MiB": peak beyond the
inputs and the compiled program. "MiB planned": what XLA sets aside for a call, without results and
without what its libraries take by themselves. CPU seconds are over all threads, and the figure to
trust where other programs run. The full run takes 8 GB and a quarter of an hour on two cores.
Without torch its lines are left out: `pip install torch`.
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

from benchmarks.harness import Prepared, race
from dajax.ops.host_arrays import aligned_empty

CASES = {
    # a crop of 730 x 730 at output stride 8
    "features": dict(height=92, width=92, channels=2048, metric="cosine"),
    "probabilities": dict(height=92, width=92, channels=19, metric="negative_kl"),
    "test_time": dict(height=92, width=183, channels=2048, metric="cosine"),  # 730 x 1460
}
QUICK_CASES = {
    "features": dict(height=13, width=11, channels=32, metric="cosine"),
    "probabilities": dict(height=13, width=11, channels=19, metric="negative_kl"),
    "test_time": dict(height=13, width=21, channels=32, metric="cosine"),
}
# each grid twice the pixels of the one before
GROWTH_SIDES, QUICK_GROWTH_SIDES = (46, 65, 92, 130, 183), (8, 11)
CLASSES = 19
ALPHA = 0.5  # spatial aggregation, in the authors' code
MAX_DIFFERENCE = 1e-3  # of loss and gradients, relative to the largest entry; float32 on all sides
HEADER = (
    "case",
    "contender",
    *(x for name in ("CPU s", "ms", "MiB", "MiB planned") for x in (name, "blocked / this")),
    "against blocked",
)


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


def compiler(function, arguments, answer):
    """A contender's `build`: compiles `function` for the arguments; a run gives answer(*its
    results) and what XLA sets aside for a call.
    """
    import jax

    def build():
        compiled = jax.jit(function).lower(*arguments).compile()
        planned = compiled.memory_analysis().temp_size_in_bytes / 2**20
        return lambda: (
            answer(*jax.block_until_ready(compiled(*arguments))) | {"planned_mib": planned}
        )

    return build


def pair_answer(loss, grads):
    """Some of the gradients' entries will do to compare, and fit through a pipe."""
    return {"loss": loss} | {
        f"grad{i}": np.asarray(grad)[:, ::5, ::5] for i, grad in enumerate(grads)
    }


def dajax_pair(height, width, channels, metric, implementation, **blocks):
    import jax

    from dajax.losses.association import cycle_association
    from dajax.ops.aggregation import aggregate
    from dajax.parallel import masked_mean

    data = jax.block_until_ready(jax.device_put(pair_data(height, width, channels, metric)))
    settings = dict(metric=metric, implementation=implementation, **blocks)

    def loss(source, target, labels):
        association = cycle_association(
            source, aggregate(target, alpha=ALPHA, **settings), labels, **settings
        )
        return masked_mean(association.values, association.mask)

    return Prepared(
        compiler(jax.value_and_grad(loss, argnums=(0, 1)), data, pair_answer), jax.devices()[0]
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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

    return Prepared(lambda: run)


def dajax_test_time(height, width, channels, metric, implementation, **blocks):
    import jax

    from dajax.ops.aggregation import aggregate

    image = jax.block_until_ready(jax.device_put(pair_data(height, width, channels, metric)[0]))

    def aggregated(image):
        return (
            aggregate(image, metric=metric, alpha=ALPHA, implementation=implementation, **blocks),
        )

    return Prepared(
        compiler(aggregated, (image,), lambda out: {"aggregated": np.asarray(out)[:, ::5, ::5]}),
        jax.devices()[0],
    )


def torch_test_time(height, width, channels, metric):
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = (
        torch.from_numpy(pair_data(height, width, channels, metric)[0])
        .reshape(-1, channels)
        .to(device)
    )

    def run():
        with torch.no_grad():
            out = torch_aggregate(image, metric)
        return {"aggregated": out.cpu().numpy().reshape(1, height, width, channels)[:, ::5, ::5]}

    return Prepared(lambda: run)


def difference(ours, theirs):
    """The largest difference of any entry, over that array's largest entry."""
    return max(
        float(np.abs(ours[key] - theirs[key]).max() / np.abs(ours[key]).max())
        for key in ours.keys() - {"planned_mib"}
    )


def peak_mib(result):
    return result.host_mib - result.compile_mib if result.device_mib is None else result.device_mib


def columns(ours, other):
    """Pairs of cells of the table: a figure of `other`, and that of `ours` over it; empty where
    torch plans nothing.
    """
    pairs = [
        (statistics.median(ours.cpu_seconds), statistics.median(other.cpu_seconds), ".3g"),
        (1e3 * statistics.median(ours.seconds), 1e3 * statistics.median(other.seconds), ".3g"),
        (peak_mib(ours), peak_mib(other), ".0f"),
        (float(ours.answer["planned_mib"]), float(other.answer.get("planned_mib", np.nan)), ".3g"),
    ]
    for mine, figure, digits in pairs:
        yield from (
            ("", "")
            if np.isnan(figure)
            else (format(figure, digits), f"{mine / max(figure, 1e-9):.2f}")
        )


def measure(case, settings, repeats):
    """One case's rows of the table, the device dajax used, and whether all contenders agree."""
    dajax_, torch_ = (
        (dajax_test_time, torch_test_time) if case == "test_time" else (dajax_pair, torch_pair)
    )
    contenders = {
        f"dajax, {name}": functools.partial(dajax_, implementation=name)
        for name in ("blocked", "dense")
    }
    if importlib.util.find_spec("torch"):
        contenders["torch"] = torch_
    results = race(contenders, settings, repeats=repeats, calls=1)
    ours, rows, agrees = results["dajax, blocked"], [], True
    for name, result in results.items():
        worst = difference(ours.answer, result.answer)
        agrees &= worst <= MAX_DIFFERENCE
        rows.append([case, name, *columns(ours, result), f"differs by {worst:.0e}"])
    return rows, ours.device, agrees


def growth(sides, channels):
    """Rows of the table of the blocked association with aggregation, one of each size."""
    rows = []
    for side in sides:
        settings = dict(
            height=side, width=side, channels=channels, metric="cosine", implementation="blocked"
        )
        result = race({"dajax": dajax_pair}, settings, repeats=1, calls=1)["dajax"]
        row = [f"{side}x{side}", str(side**2), format(result.cpu_seconds[0], ".3g")]
        for mib in (peak_mib(result), float(result.answer["planned_mib"])):
            row += [f"{mib:.3g}", f"{mib / side**2:.5f}"]
        rows.append(row)
    return rows


def table(header, rows):
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]
    )


def main():
    known = (*CASES, "growth")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(known), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--growth-channels", type=int, default=64)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: does everything run and agree? The numbers mean nothing",
    )
    args = parser.parse_args()
    cases = args.cases.split(",")
    if unknown := set(cases) - set(known):
        parser.error(f"unknown case {sorted(unknown)[0]!r}; known: {', '.join(known)}")

    rows, wrong, settings = [], [], QUICK_CASES if args.quick else CASES
    for case in [case for case in cases if case in settings]:
        case_rows, device, agrees = measure(case, settings[case], args.repeats)
        rows += case_rows
        wrong += [] if agrees else [case]
    if rows:
        print(
            f"dajax on {device}; {os.cpu_count()} CPU cores; median of {args.repeats} interleaved"
            f" repeats\n\n{table(HEADER, rows)}\n"
        )
    if "growth" in cases:
        header = (
            f"blocked, {args.growth_channels} channels",
            "pixels",
            "CPU s",
            "MiB",
            "per pixel",
            "MiB planned",
            "per pixel",
        )
        print(
            table(
                header,
                growth(QUICK_GROWTH_SIDES if args.quick else GROWTH_SIDES, args.growth_channels),
            )
        )
    sys.exit(f"dajax and another contender disagree: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
