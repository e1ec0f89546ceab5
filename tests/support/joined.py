"""Runs that several processes share, on this machine. As a script it is one of the processes."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

SUPPORT = pathlib.Path(__file__).resolve().parent


def free_port():
    """A port of this machine that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(runs, count, devices, environments=None):
    """Starts `count` processes with so many devices each, which train one run after the other.

    Args:
      runs: list of {"recipe": name of a module of dajax.recipes, or "toy", "changes": {key: value},
        "workdir": path}.
      environments: of each process what a cluster sets, which then says who the others are.

    Returns:
      A list of subprocess.Popen, output and errors as text on one pipe.
    """
    import tiny

    address = f"127.0.0.1:{free_port()}"
    own = [dict(coordinator=address, num_processes=count, process_id=i) for i in range(count)]
    if environments:
        own = [dict(coordinator="auto", num_processes=0, process_id=0)] * count
    return [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps([runs, own[index], devices])],
            cwd=tiny.ROOT,
            env=tiny.environment() | (environments[index] if environments else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]


def finished(processes, seconds=300):
    """[(exit status, what it has said)] of each."""
    said = [process.communicate(timeout=seconds)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def config_of(run):
    """The ConfigDict of one of the runs."""
    import importlib

    import tiny
    import toy_task

    if run["recipe"] == "toy":
        config = toy_task.config()
    else:
        config = importlib.import_module(f"dajax.recipes.{run['recipe']}").get_config()
    changes = {key: tuple(x) if isinstance(x, list) else x for key, x in run["changes"].items()}
    config.update_from_flattened_dict(changes | {"runtime.compilation_cache": tiny.CACHE})
    return config


@contextlib.contextmanager
def small_networks():
    """Networks that compile at once, and the toy task."""
    import in_process
    import pytest
    import toy_task

    from dajax.tasks.classification import setup as classification
    from dajax.tasks.segmentation import setup as segmentation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "build_network", in_process.flat)
        shallow = in_process.shallow(segmentation.build_segmenter)
        patch.setattr(segmentation, "build_segmenter", shallow)
        toy_task.install(patch)
        yield


def main(runs, own, devices):
    """One of the processes; ends as run.py does.

    Args:
      own: the keys of config.runtime that say which one.
    """
    sys.path.insert(0, str(SUPPORT.parents[1]))
    from dajax.engine import signals

    signals.end_at_once()
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_default_matmul_precision", "highest")  # as tests/conftest.py
    from ml_collections import ConfigDict

    from dajax import joining
    from dajax.cli import failures
    from dajax.engine import stages
    from dajax.errors import StopRequested

    try:
        # first of all: what the tests import looks for devices
        with joining.joined(ConfigDict(own), failures.describe), small_networks():
            for run in runs:
                config = config_of(run)
                config.runtime.update(own)
                stages.run(config, pathlib.Path(run["workdir"]), "train")
    except StopRequested as stop:
        sys.exit(128 + stop.signal)
    except Exception as error:
        print(f"error: {failures.describe(error)}", flush=True)
        os._exit(1)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
