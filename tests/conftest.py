"""Every test sees four CPU devices and JAX at its strictest.

Rank promotion and implicit dtype promotion are errors: most silently wrong losses begin as a [N]
array that broadcasts against an [N, 1] one. Matmuls run at full float32, the precision that the
golden tolerances assume.
"""

import atexit
import os
import pathlib
import pickle
import shutil
import sys
import tempfile
import time
from importlib import metadata

# Before jax is imported: the tests are about CPU numerics, whatever accelerator the machine has.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # as dajax/cli/main.py has it
# Most of the suite's time is XLA compiling programs that then run for milliseconds: unoptimised
# code halves it, and so does the older way to emit fusions. The children inherit it. XLA ends a
# process whose flags it does not know, so the second is for versions that were seen to know it.
FLAGS = ["--xla_backend_optimization_level=0"]
if metadata.version("jaxlib").startswith("0.10."):
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS]).strip()
if "DAJAX_TESTS_CACHE" not in os.environ:  # the process that starts the workers, which inherit it
    os.environ["DAJAX_TESTS_CACHE"] = tempfile.mkdtemp(prefix="dajax-tests-")
    atexit.register(shutil.rmtree, os.environ["DAJAX_TESTS_CACHE"], ignore_errors=True)

import jax
import jaxtyping
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")

# Before these are imported: in the tests every call of their functions is held to the dtypes and
# shapes of its annotations (dajax/typing.py). Users pay nothing for them.
CHECKED = ("dajax.losses", "dajax.ops", "dajax.parallel")
jaxtyping.install_import_hook(CHECKED, "type_checks.checked")


# The files that take longest, first: a worker takes a file at a time, and the last one should not
# be minutes long.
LONGEST_FIRST = (
    "test_resume.py",
    "test_every_method.py",
    "test_seg_command_line.py",
    "test_command_line.py",
    "test_seg_golden.py",
    "test_bicl_steps.py",
)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def golden():
    """`golden("can_cdd")` -> {case: {array name: array}} of tests/golden/can_cdd.npz."""

    def load(name):
        cases = {}
        with np.load(ROOT / "tests" / "golden" / f"{name}.npz") as arrays:
            for key in arrays.files:
                case, _, array = key.rpartition("/")
                cases.setdefault(case, {})[array] = arrays[key]
        return cases

    return load


@pytest.fixture
def unchecked_types():
    """Turns the checks of the annotations off, for what a wrong shape gives to users."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real pictures beside a developer's checkout; tests that need it are skipped
    where it is absent.
    """
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real pictures in ../shared/data, which this checkout does not have")
    return folder


@pytest.fixture(scope="session")
def tiny_run():
    """(workdir, CompletedProcess) of a tiny run that nothing interrupted: one for all workers, so
    leave its results as they are.
    """
    import tiny

    folder = pathlib.Path(os.environ["DAJAX_TESTS_CACHE"]) / "tiny_run"
    done = folder / "done.pickle"
    try:
        folder.mkdir()
    except FileExistsError:  # another worker's, perhaps still under way
        deadline = time.monotonic() + 300
        while not done.exists():
            assert time.monotonic() < deadline, (
                f"{folder} is not finished: its test has failed in another worker"
            )
            time.sleep(0.2)
    else:
        result = tiny.run(folder / "run")
        (folder / "part").write_bytes(pickle.dumps(result))
        (folder / "part").rename(done)
    return folder / "run", pickle.loads(done.read_bytes())
