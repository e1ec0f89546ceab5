"""One train step over 1, 2 and 4 devices of a CPU, which share its cores: what the split costs, and
that the loss is the same. The batch is the same for all.
"""

import functools
import os

import numpy as np

from benchmarks import method_steps
from benchmarks.cases import Case, largest_difference
from benchmarks.race import Prepared

TITLE = "a train step over 1, 2 and 4 CPU devices"
MINUTES = 1.5
NEEDS = ("ml_collections",)

DEVICES, QUICK_DEVICES = (1, 2, 4), (1, 2)


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    devices = QUICK_DEVICES if is_quick else DEVICES
    methods = {"source_only": "classification"}
    if not is_quick:
        methods |= {"adaptsegnet": "segmentation"}
    # the promise of dajax/parallel.py, after the steps of warm-up and of the repeats
    agree = functools.partial(largest_difference, tolerance=1e-3)
    return [
        Case(
            name,
            {
                f"{count} device{'s' if count > 1 else ''}": functools.partial(step, count)
                for count in devices
            },
            dict(name=name, task=task),
            repeats=5,
            agree=agree,
        )
        for name, task in methods.items()
    ]


def step(count, name, task):
    """The step of a method over so many devices of the CPU."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    from dajax import parallel

    train_step, state, batch, rng = method_steps.make(name, task)
    devices = jax.devices()[:count]
    compiled = parallel.compile_train_step(train_step, devices)
    batch = jax.tree.map(np.asarray, batch)
    held = [state]

    def build():
        compiled.lower(state, batch, rng).compile()  # the first call takes it over

        def run():
            held[0], metrics = jax.block_until_ready(compiled(held[0], batch, rng))
            return {"loss": metrics["loss"]}

        return run

    return Prepared(build)
