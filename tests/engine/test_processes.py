"""Several processes that train as one are as good as one: the same parameters, one end for all, and
no process that waits for a dead one.
"""

import pathlib
import signal
import socket
import subprocess
import sys
import time

import in_process
import joined
import numpy as np
import pytest
import tiny
import toy_task
from ml_collections import ConfigDict

from dajax import joining, process_watch, processes
from dajax.engine import stage_checks, stages
from dajax.errors import UserError

BOTH = {"evaluation.reestimate_batches": 1, "runtime.log_every": 1}
CAN = BOTH | {
    "stages": ["source_only", "can"],
    "data.per_class": 6,
    "source_only.steps": 4,
    "source_only.batch_size": 16,
    "source_only.evaluate_every": 2,
    "can.batch_size": 16,
    "can.max_loops": 1,
    "can.class_aware.update_fraction": 0.1,
    "can.clustering.batch_size": 256,
    "can.clustering.min_agreement": 0.0,
    "runtime.eval_batch_size": 256,
}
SPCL = BOTH | {
    "stages": ["source_only", "warm_up_labels"],
    "data.scenes.source": 10,
    "data.scenes.target": 10,
    "data.scenes.evaluation": 5,
    "model.aspp_branches": 2,
    "model.aspp_rates": [1, 2],
    "source_only.steps": 2,
    "warm_up_labels.init_from": "source_only",
    "evaluation.agreement_batches": 1,
    "evaluation.num_pictures": 1,
    "runtime.eval_batch_size": 4,
}
MIC = SPCL | {"stages": ["source_only", "mic"], "mic.steps": 3, "mic.batch_size": 4}
del MIC["warm_up_labels.init_from"]
SIZES = {"2x2": (2, 2), "1x4": (1, 4), "1x1": (1, 1)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{"2x2": folder of the workdirs that two processes of two devices have made, "1x4" and "1x1":
    those of one process, "said": what the two have said}.
    """
    root = tmp_path_factory.mktemp("joined")
    can, spcl = ({name: run_of(recipe, root, name) for name in SIZES} for recipe in ("can", "spcl"))
    started = joined.start([can["2x2"], spcl["2x2"]], 2, 2)
    for run, name in ((can, "1x4"), (can, "1x1"), (spcl, "1x4")):
        train_alone(run[name], SIZES[name][1])
    ended = joined.finished(started)
    for status, said in ended:
        assert status == 0, "\n".join(said for _, said in ended)
    return {name: root / name for name in SIZES} | {"said": [said for _, said in ended]}


def run_of(recipe, root, name, **changes):
    changes = {"can": CAN, "spcl": SPCL, "mic": MIC}[recipe] | changes
    if recipe != "can":
        changes |= {"data.scenes.root": str(root / "scenes")}
    return {"recipe": recipe, "changes": changes, "workdir": str(root / name / recipe)}


def train_alone(run, devices):
    """Trains one of the runs within this process."""
    with in_process.compiled_programs_kept(), joined.small_networks():
        config = joined.config_of(run)
        config.runtime.devices = devices
        stages.run(config, pathlib.Path(run["workdir"]), "train")


def assert_close(made, wanted, stage_names):
    """The states of all checkpoints of two workdirs."""
    for stage in stage_names:
        ours, theirs = (in_process.states(workdir / stage) for workdir in (made, wanted))
        assert ours.keys() == theirs.keys() and ours
        for step, leaves in theirs.items():
            for name, leaf in leaves.items():
                np.testing.assert_allclose(
                    ours[step][name], leaf, rtol=1e-5, atol=1e-5, err_msg=f"{stage} {step} {name}"
                )


@pytest.mark.parametrize("recipe, other", [("can", "1x4"), ("can", "1x1"), ("spcl", "1x4")])
def test_two_processes_of_two_devices_are_one_process(trained, recipe, other):
    """Clustering and pseudo-labels included; that four devices are one: test_every_method.py."""
    names = (CAN if recipe == "can" else SPCL)["stages"]
    assert_close(trained["2x2"] / recipe, trained[other] / recipe, names)


@pytest.mark.slow
def test_prototypes_of_two_processes_are_those_of_one(tmp_path):
    names = ["source_only", "warm_up", "warm_up_labels", "spcl"]
    changes = {"stages": names, "warm_up_labels.init_from": "warm_up"}
    compare_all("spcl", tmp_path, names, **changes, **{"warm_up.steps": 2, "spcl.steps": 2})


@pytest.mark.slow
def test_a_teacher_and_mixed_images_of_two_processes_are_those_of_one(tmp_path):
    compare_all("mic", tmp_path, MIC["stages"])


def compare_all(recipe, folder, names, **changes):
    """Trains in all SIZES, and compares the stages of these names."""
    runs = {name: run_of(recipe, folder, name, **changes) for name in SIZES}
    for status, said in joined.finished(joined.start([runs["2x2"]], 2, 2)):
        assert status == 0, said
    for name in ("1x4", "1x1"):
        train_alone(runs[name], SIZES[name][1])
        assert_close(folder / "2x2" / recipe, folder / name / recipe, names)


@pytest.mark.parametrize("recipe", ["can", "spcl"])
def test_what_they_write_is_what_one_writes(trained, recipe):
    two, one = trained["2x2"] / recipe, trained["1x4"] / recipe
    names = [
        sorted(str(x.relative_to(folder)) for x in folder.rglob("*") if x.is_file())
        for folder in (two, one)
    ]
    found, wanted = (
        [x for x in names if "checkpoints" not in x and "tfevents" not in x and "pictures" not in x]
        for names in names
    )
    assert found == wanted
    for stage in toy_task.results(one):
        rows, expected = (in_process.metrics(folder, stage) for folder in (two, one))
        assert [row.keys() for row in rows] == [row.keys() for row in expected]


def test_they_write_the_same_pseudo_labels(trained):
    folders = [trained[x] / "spcl" / "warm_up_labels" / "pseudo_labels" for x in ("2x2", "1x4")]
    two, one = ({x.name: x.read_bytes() for x in f.glob("labels/*.png")} for f in folders)
    assert two == one and len(two) == SPCL["data.scenes.target"]


def test_only_the_first_speaks(trained):
    first, second = trained["said"]
    assert "4 x cpu (cpu) of 2 processes" in first and "accuracy" in first
    assert "source_only" not in second


def written(workdir):
    return sum(path.stat().st_size for path in workdir.glob("*/metrics.jsonl"))


def wait_until_it_steps(workdir, started, seconds=120):
    before, deadline = written(workdir), time.monotonic() + seconds
    while written(workdir) <= before and time.monotonic() < deadline:
        assert all(process.poll() is None for process in started)
        time.sleep(0.02)


def of_slurm():
    """What srun sets for each of two processes of one machine."""
    of_all = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    of_all["JAX_COORDINATOR_PORT"] = str(joined.free_port())
    return [of_all | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]


def test_they_stop_together_and_go_on_after_a_death(tmp_path, monkeypatch):
    """First with coordinator=auto, from the environment of SLURM; then with an address."""
    changes = {"stages": ["first"], "first.steps": 6000, "runtime.checkpoint_every": 500}
    changes |= {"runtime.log_every": 10}
    run = {"recipe": "toy", "changes": changes, "workdir": str(tmp_path / "two")}

    started = joined.start([run], 2, 1, of_slurm())
    wait_until_it_steps(tmp_path / "two", started)
    started[1].send_signal(signal.SIGTERM)  # to one of them
    ended = joined.finished(started)
    assert "devices: 2 x cpu (cpu) of 2 processes" in ended[0][1]
    assert [status for status, _ in ended] == [128 + signal.SIGTERM] * 2, ended
    (stopped_at,) = {max(in_process.states(tmp_path / "two" / "first"))}

    started = joined.start([run], 2, 1)
    wait_until_it_steps(tmp_path / "two", started)
    started[1].kill()
    begin = time.monotonic()
    ended = joined.finished(started)
    assert time.monotonic() - begin < 60  # docs/devices.md
    assert ended[0][0] == 1 and "process 1 of 2" in ended[0][1] and "is gone" in ended[0][1]
    assert f"continues at step {stopped_at}" in ended[0][1]

    toy_task.install(monkeypatch)
    for name in ("two", "alone"):  # the rest by one process; all by one
        config = joined.config_of(run | {"workdir": ""})
        config.runtime.devices = 1
        stages.run(config, tmp_path / name, "train")
    two, alone = (in_process.states(tmp_path / name / "first")[6000] for name in ("two", "alone"))
    for name, leaf in alone.items():
        np.testing.assert_allclose(two[name], leaf, rtol=1e-5, atol=1e-5, err_msg=name)


def runtime(**changes):
    return ConfigDict(dict(coordinator="", num_processes=0, process_id=0) | changes)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"num_processes": 2}, "num_processes=2: belongs to config.runtime.coordinator=HOST:PORT"),
        ({"coordinator": "auto", "process_id": 1}, "process_id=1.*is 'auto'"),
        ({"coordinator": "node1"}, "expected HOST:PORT"),
        ({"coordinator": "node1:x", "num_processes": 2}, "expected HOST:PORT"),
        ({"coordinator": "node1:99999", "num_processes": 2}, "expected HOST:PORT"),
        ({"coordinator": "node1:12345"}, "num_processes=0, config.runtime.process_id=0: expected"),
        ({"coordinator": "node1:1", "num_processes": 2, "process_id": 2}, "from 0 to one less"),
    ],
)
def test_keys_that_do_not_fit_together_are_one_line(changes, said):
    with pytest.raises(UserError, match=said):
        joining.check(runtime(**changes))


def test_others_that_do_not_come_are_not_waited_for_for_ever():
    program = (
        "import sys; from ml_collections import ConfigDict; from dajax import joining;"
        "joining._JOIN_SECONDS = 4; address = sys.argv[1];"
        "own = dict(coordinator=address, num_processes=2, process_id=0);"
        "joining.joined(ConfigDict(own)).__enter__()"
    )
    address = f"127.0.0.1:{joined.free_port()}"
    ended = subprocess.run(
        [sys.executable, "-c", program, address],
        cwd=tiny.ROOT,
        env=tiny.environment(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1 and "waiting for the other processes" in ended.stdout
    (line,) = ended.stderr.strip().splitlines()
    assert "process 0 of 2" in line and "4 seconds have passed" in line and address in line


def test_a_coordinator_that_cannot_be_is_one_line():
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match="cannot be opened.*in use.*choose another one"):
            joining._check_address(runtime(coordinator=address, num_processes=2))
    with pytest.raises(UserError, match="no.such.host.invalid has no address"):
        joining._check_address(runtime(coordinator="no.such.host.invalid:1", num_processes=2))


def test_without_a_cluster_auto_says_what_to_give():
    with pytest.raises(UserError, match="coordinator=HOST:PORT, num_processes and process_id"):
        with joining.joined(runtime(coordinator="auto")):
            pass


def test_another_config_than_the_firsts_is_one_line(monkeypatch):
    first = {"seed": 3, "stages": ["first"], "runtime.process_id": 0}
    monkeypatch.setattr(processes, "from_first_object", lambda make: make() | first)
    config = toy_task.config(**{"stages": ("first",), "seed": 3, "runtime.process_id": 1})
    stage_checks.check_alike(config)
    config.seed = 4
    with pytest.raises(UserError, match="first process.* seed=3 there, 4 here; start all with"):
        stage_checks.check_alike(config)


def test_one_process_is_the_identity():
    (x,) = processes.total(np.arange(3))
    assert x.tolist() == [0, 1, 2] and processes.agreed(7) == 7 and processes.Agreement()(5) == 5
    rows = processes.rows_of_all(np.array([[2.0], [1.0]]), np.array([1, 0]))
    assert rows.tolist() == [[1.0], [2.0]]


@pytest.fixture
def pair(monkeypatch):
    """(the first process's Watch, that of the second, lines with which they would have ended)."""
    lines = []

    def leave(self, line, status):
        self._is_over = True
        lines.append((self._index, line, status))

    monkeypatch.setattr(process_watch.Watch, "_leave", leave)
    watches = [process_watch.Watch(index, 2) for index in (0, 1)]
    first = watches[0].listen("127.0.0.1")
    for watch in watches:
        watch.begin(first)
    deadline = time.monotonic() + 20
    while not watches[0]._peers and time.monotonic() < deadline:
        time.sleep(0.01)
    yield *watches, lines
    process_watch._now.clear()
    watches[0].close()


def wait_for(lines):
    deadline = time.monotonic() + 20
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    return lines


def test_the_others_hear_why_a_process_ends(pair):
    _, second, lines = pair
    second.tell("disk full", 3)
    ((index, line, status),) = wait_for(lines)
    assert index == 0 and status == 3 and "process 1 of 2" in line and line.endswith("disk full")


def test_the_others_hear_that_a_process_is_gone(pair):
    first, _, lines = pair
    first.close()
    first._peers[0].shutdown(socket.SHUT_RDWR)  # as the system does for a dead one
    found = {index: (line, status) for index, line, status in wait_for(lines)}
    assert found[1][1] == 1 and "process 0 of 2" in found[1][0] and "is gone" in found[1][0]


def test_who_has_ended_its_work_is_not_missed_by_those_at_theirs(pair):
    _, second, lines = pair
    second.end()
    second._peers[0].shutdown(socket.SHUT_RDWR)
    time.sleep(0.3)
    assert lines == []


def test_nobody_is_missed_when_the_work_is_done(pair):
    first, second, lines = pair
    second.end()
    first.end()
    first.close()
    second._peers[0].shutdown(socket.SHUT_RDWR)
    time.sleep(0.3)
    assert lines == []
