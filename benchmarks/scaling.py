"""One train step over 1, 2 and 4 devices of a CPU, which share its cores: what the split costs, and
that the loss is the same. The batch is the same for all. And a whole run by 1 and by 2 processes.
"""

import functools
import json
import os
import pathlib
import socket
import subprocess
import time

import numpy as np

from benchmarks import method_steps
from benchmarks.cases import Case, largest_difference, run_of
from benchmarks.race import Prepared

TITLE = "a train step over 1, 2 and 4 CPU devices"
MINUTES = 1.5
NEEDS = ("ml_collections",)

PROCESSES = (1, 2)
ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPE, STAGE = "configs/can.py", "source_only"
RUN_STEPS, FEW_STEPS, LOG_EVERY = 200, 20, 10
LIMIT = 280  # seconds of a run, on a busy machine
DEVICES, QUICK_DEVICES = (1, 2, 4), (1, 2)


def cases(folder, is_quick):
    """See groups.py."""
    devices = QUICK_DEVICES if is_quick else DEVICES
    methods = {"source_only": "classification"}
    if not is_quick:
        methods |= {"adaptsegnet": "segmentation"}
    # the promise of dajax/parallel.py, after the steps of warm-up and of the repeats
    agree = functools.partial(largest_difference, tolerance=1e-3)
    found = [
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
    contenders = {
        f"{count} process{'es' if count > 1 else ''}": functools.partial(processes, count)
        for count in PROCESSES
    }
    settings = dict(folder=str(folder), steps=FEW_STEPS if is_quick else RUN_STEPS)
    run = Case(f"a run of {RECIPE}", contenders, settings, warm_up=False, repeats=2, remark=a_step)
    return [*found, run]


def cpu_devices(count):
    """The environment in which JAX finds so many devices of the CPU."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def step(count, name, task):
    """The step of a method over so many devices of the CPU."""
    os.environ.update(cpu_devices(count))
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


def a_step(name, result):
    """Time of a step without start and compilation, for the remark."""
    del name
    return f"{1e3 * float(result.answer['seconds']):.3g} ms a step"


def processes(count, folder, steps):
    """A run of one stage by so many processes of one CPU device each, a full cache of compiled
    programs before it.
    """

    def run():
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        workdir = pathlib.Path(folder, f"{count}-{port}")
        command = run_of(RECIPE, STAGE, workdir, f"{folder}/cache", log_every=LOG_EVERY)
        command.append(f"--config.{STAGE}.steps={steps}")
        if count > 1:
            command += [
                f"--config.runtime.coordinator=localhost:{port}",
                f"--config.runtime.num_processes={count}",
            ]
        numbered = [
            command + [f"--config.runtime.process_id={i}"] if count > 1 else command
            for i in range(count)
        ]
        environment = os.environ | cpu_devices(1) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        running = [
            subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            for words in numbered
        ]
        try:
            seconds = _seconds_a_step(workdir / STAGE / "metrics.jsonl", running)
            if any(process.wait(LIMIT) for process in running):
                raise RuntimeError("a process ended with an error, see above")
        finally:
            for process in running:
                process.kill()
        return {"seconds": seconds}

    def filled():
        run()
        return run

    return Prepared(filled, is_command=True)


def _seconds_a_step(path, running):
    """Watches metrics.jsonl from its first line on, until a process has ended."""
    seen = {}  # step: when its line was there
    deadline = time.monotonic() + LIMIT
    while all(process.poll() is None for process in running) and time.monotonic() < deadline:
        for line in path.read_text().splitlines() if path.exists() else ():
            step = json.loads(line).get("step") if line.endswith("}") else None
            seen.setdefault(step, time.monotonic())
        time.sleep(0.02)
    seen.pop(None, None)
    if len(seen) < 2:
        raise RuntimeError(f"{path}: has {len(seen)} steps, so there is nothing to time")
    first, last = min(seen), max(seen)
    return (seen[last] - seen[first]) / (last - first)
