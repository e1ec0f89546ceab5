"""Saving and restoring a checkpoint of DeepLab-v2 ResNet-101 with its momentum, and what a save
does to the training that goes on beside it.

"numpy": the same arrays as one .npz, flushed to the disk. A save of dajax has checksums, and the
loop goes on as soon as the state is copied: the remark says when.
"""

import functools
import os
import pathlib
import time

import numpy as np

from benchmarks import network_setup as setup
from benchmarks.cases import Case
from benchmarks.race import Prepared

TITLE = "checkpoints: save, restore, and the stall of the loop"
MINUTES = 1.5
NEEDS = ("ml_collections", "orbax")

STEPS, SAVE_AFTER = 12, 3  # of the loop
# of a step's products, which keep all cores busy: about 0.3 s on two cores
PRODUCT, QUICK_PRODUCT = 3072, 64


def cases(folder, is_quick):
    """See groups.py."""
    settings = dict(folder=str(folder), blocks=setup.QUICK_BLOCKS if is_quick else setup.RESNET101)
    loop = settings | dict(product=QUICK_PRODUCT if is_quick else PRODUCT)
    return [
        Case("save", {"numpy": numpy_save, "dajax": dajax_save}, settings, remark=stall),
        Case("restore", {"numpy": numpy_load, "dajax": dajax_restore}, settings),
        Case(
            f"{STEPS} steps of products",
            {
                "alone": functools.partial(training, saves=False),
                "with a save": functools.partial(training, saves=True),
            },
            loop,
            remark=stall,
        ),
    ]


def stall(name, result):
    """How long the loop waited for a save."""
    del name
    if "stall" not in result.answer:
        return f"{float(result.answer['mib']):.0f} MiB" if "mib" in result.answer else ""
    return f"the loop goes on after {1e3 * float(result.answer['stall']):.0f} ms"


def random_state(blocks):
    """A TrainState of the network and its momentum, made without compiling anything."""
    import jax

    from dajax.state import TrainState

    model, rng = setup.build("segmenter", blocks), np.random.default_rng(0)
    shapes = setup.shapes_of(model)
    params, batch_stats, trace = jax.tree.map(
        lambda leaf: jax.device_put(rng.standard_normal(leaf.shape, np.float32)),
        (*shapes, shapes[0]),
    )
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state={"trace": trace})


def arrays_of(blocks):
    """The same as {name: array} in numpy."""
    import jax

    leaves = jax.tree.leaves(random_state(blocks))
    return {f"{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}


def numpy_save(folder, blocks):
    arrays, path = arrays_of(blocks), pathlib.Path(folder, "saved.npz")

    def run():
        with path.open("wb") as file:
            np.savez(file, **arrays)
            os.fsync(file.fileno())
        return {"mib": sum(array.nbytes for array in arrays.values()) / 2**20}

    return Prepared(lambda: run)


def dajax_save(folder, blocks):
    from dajax.engine.checkpoint import Checkpoints

    state, checkpoints = random_state(blocks), Checkpoints(pathlib.Path(folder, "saved"), keep=1)
    held = [state]

    def run():
        held[0] = held[0].replace(step=held[0].step + 1)
        started = time.perf_counter()
        checkpoints.save(held[0], {})
        stalled = time.perf_counter() - started
        checkpoints.wait()
        return {"stall": stalled}

    return Prepared(lambda: run)


def numpy_load(folder, blocks):
    path = pathlib.Path(folder, "restored.npz")
    np.savez(path, **arrays_of(blocks))

    def run():
        with np.load(path) as file:
            return {"mib": sum(file[name].nbytes for name in file.files) / 2**20}

    return Prepared(lambda: run)


def dajax_restore(folder, blocks):
    from dajax.engine.checkpoint import Checkpoints

    state, checkpoints = random_state(blocks), Checkpoints(pathlib.Path(folder, "kept"), keep=1)
    checkpoints.save(state, {})
    checkpoints.wait()

    def run():
        restored, _ = checkpoints.restore(state)
        return {"step": restored.step}

    return Prepared(lambda: run)


def training(folder, blocks, product, saves):
    """STEPS steps that keep all cores busy; with a save in it, for whose end the last one waits."""
    import jax

    from dajax.engine.checkpoint import Checkpoints

    state, checkpoints = random_state(blocks), Checkpoints(pathlib.Path(folder, "loop"), keep=1)
    matrix = jax.device_put(np.random.default_rng(0).standard_normal((product,) * 2, np.float32))
    step = jax.jit(lambda x: x @ x / product).lower(matrix).compile()
    held = [state]

    def run():
        stalled, x = 0.0, matrix
        for number in range(STEPS):
            x = jax.block_until_ready(step(x))
            if saves and number == SAVE_AFTER:
                held[0] = held[0].replace(step=held[0].step + 1)
                started = time.perf_counter()
                checkpoints.save(held[0], {})
                stalled = time.perf_counter() - started
        checkpoints.wait()
        return {"stall": stalled} if saves else {}

    return Prepared(lambda: run)
