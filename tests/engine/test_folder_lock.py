"""One owner a workdir: a second run is refused before it touches anything, and nothing that a dead
one has left stops the next.
"""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
import tiny
import toy_task

from dajax.cli import sweep
from dajax.engine import folder_lock
from dajax.engine.folder_lock import NAME, FolderLock, owned
from dajax.engine.signals import StopFlag
from dajax.errors import UserError

# Takes the folder, says so, and holds it until it is killed; its forked child outlives it.
OWNER = """
import os, sys, time
from dajax.cli import sweep
from dajax.engine import folder_lock
folder_lock._RENEWAL = 0.05
with folder_lock.owned(sys.argv[1]):
    child = os.fork() if "fork" in sys.argv else 1
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr(folder_lock, "_LOOK", 0.01)
    monkeypatch.setattr(folder_lock, "_RENEWAL", 0.02)


def owner_process(workdir, *words):
    """A process that owns the workdir, and the first line that it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, workdir, *words],
        cwd=tiny.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def contents(folder):
    """{path: (time of the last change, bytes of a file)} of a folder and everything in it."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (folder, *folder.rglob("*"))
    }


def leave(workdir, **changes):
    """A lock file that a process has left; its Owner."""
    with FolderLock(workdir) as lock:
        assert lock.take() is None
        owner = dataclasses.replace(folder_lock._parse(lock.path.read_bytes()), **changes)
    text = json.dumps(dataclasses.asdict(owner))
    (workdir / NAME).write_text(text)
    return owner


def test_a_second_run_is_refused_and_leaves_every_byte(tmp_path, monkeypatch):
    toy_task.install(monkeypatch)
    toy_task.run(toy_task.config(stages=("first",)), tmp_path)
    assert not (tmp_path / NAME).exists(), "a run that has ended leaves nothing"
    monkeypatch.setattr(folder_lock, "_RENEWAL", 60.0)
    with FolderLock(tmp_path) as lock:
        assert lock.take() is None
        before = contents(tmp_path)
        with pytest.raises(UserError) as refusal:
            toy_task.run(toy_task.config(), tmp_path)
        assert contents(tmp_path) == before
    said, host = str(refusal.value), socket.gethostname()
    assert f"--workdir={tmp_path}: process {os.getpid()} on {host}" in said and "\n" not in said
    assert f"at work there since {time.strftime('%Y-')}" in said
    assert f"stop it (kill {os.getpid()}), or choose another --workdir" in said
    toy_task.run(toy_task.config(), tmp_path)
    assert toy_task.results(tmp_path).keys() == {"first", "second"}
    assert not (tmp_path / NAME).exists()


def test_an_evaluation_and_dajax_load_may_look_at_a_run_under_way(tmp_path, monkeypatch):
    toy_task.install(monkeypatch)
    toy_task.run(toy_task.config(stages=("first",)), tmp_path)
    with owned(tmp_path):
        toy_task.run(toy_task.config(stages=("first",)), tmp_path, mode="eval")
    assert toy_task.results(tmp_path, "eval.json") == toy_task.results(tmp_path)


def test_a_run_that_fails_gives_its_workdir_back(tmp_path, monkeypatch):
    toy_task.install(monkeypatch)
    toy_task.run(toy_task.config(), tmp_path)
    with pytest.raises(UserError, match="another config"):
        toy_task.run(toy_task.config(seed=5), tmp_path)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("words", [(), ("fork",)], ids=["alone", "with a worker that lives on"])
def test_a_killed_owner_is_followed_at_once(tmp_path, capsys, words):
    process, child = owner_process(tmp_path, *words)
    try:
        with FolderLock(tmp_path) as lock:
            holder = lock.take()
            assert holder.pid == process.pid and holder.is_of_this_machine()
            assert not holder.is_gone()
            process.kill()
            process.wait()
            assert holder.is_gone() and (tmp_path / NAME).exists()
            assert lock.take() is None
        assert capsys.readouterr().out == ""
    finally:
        process.kill()
        if words:
            os.kill(int(child), 9)
        process.communicate()


def test_of_many_at_once_one_takes_what_a_killed_one_has_left(tmp_path):
    leave(tmp_path, pid=2**22 + 1)
    locks = [FolderLock(tmp_path) for _ in range(8)]
    found, start = [None] * len(locks), threading.Barrier(len(locks))

    def take(i):
        start.wait()
        found[i] = locks[i].take()

    threads = [threading.Thread(target=take, args=(i,)) for i in range(len(locks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(None) == 1
    assert {owner.pid for owner in found if owner is not None} == {os.getpid()}
    for lock in locks:
        lock.close()


def test_one_that_has_just_ended_and_removed_its_file_is_followed(tmp_path, monkeypatch):
    """The second has opened the file before the first removes it: its lock is of no use."""
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.take() is None
    holder = second._holder

    def after_the_first_has_ended(file):
        first.close()
        return holder(file)

    monkeypatch.setattr(second, "_holder", after_the_first_has_ended)
    assert second.take() is None
    with FolderLock(tmp_path) as third:
        assert third.take().pid == os.getpid()
    second.close()


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 80, b"[1]", b'{"host": "a"}\n'])
def test_what_is_no_record_stops_nobody(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with owned(tmp_path):
        pass


@pytest.mark.parametrize(
    "changes", [{"pid": 2**22 + 1}, {"started": "1"}], ids=["ended", "number given again"]
)
def test_without_locks_of_the_system_a_dead_process_is_followed(
    tmp_path, monkeypatch, changes, capsys
):
    leave(tmp_path, **changes)
    monkeypatch.setattr(folder_lock, "try_lock", lambda file: None)
    with FolderLock(tmp_path) as lock:
        assert lock.take() is None
    assert capsys.readouterr().out == ""


def test_without_locks_of_the_system_a_living_process_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "try_lock", lambda file: None)
    with owned(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} on "):
        with owned(tmp_path):
            pass


def test_an_owner_on_another_machine_is_followed_once_it_shows_no_life(tmp_path, capsys):
    """A copy of a running workdir, or one whose machine was switched off."""
    leave(tmp_path / "there", host="node7", boot="another")
    shutil.copytree(tmp_path / "there", tmp_path / "here")
    with FolderLock(tmp_path / "here") as lock:
        assert lock.take() is None
    first, second = capsys.readouterr().out.splitlines()
    assert "on node7 has been at work there since" in first and "sign of life" in first
    assert "it shows none" in second and "taken over" in second


def test_an_owner_on_another_machine_that_lives_is_respected(tmp_path, monkeypatch):
    owner = leave(tmp_path, host="node7", boot="another")
    looks, path = [], tmp_path / NAME

    def renewed():
        looks.append(1)
        if len(looks) == 3:
            os.utime(path, ns=(0, time.time_ns() + 10**9))

    with FolderLock(tmp_path, check=renewed) as lock:
        assert lock.take() == owner and len(looks) == 3
    assert path.exists(), "it is not ours"
    monkeypatch.setattr(folder_lock.FolderLock, "take", lambda self: owner)
    with pytest.raises(UserError) as refusal, owned(tmp_path):
        pass
    assert f"kill {owner.pid} on node7" in str(refusal.value)
    assert str(refusal.value).endswith(f"if it is certain that it has ended, remove {path}")


def test_the_owner_renews_its_file(tmp_path):
    with owned(tmp_path):
        os.utime(tmp_path / NAME, ns=(0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / NAME).stat().st_mtime_ns == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_owner_that_was_taken_for_gone_writes_nothing_more(tmp_path):
    process, _ = owner_process(tmp_path)
    record = folder_lock._parse((tmp_path / NAME).read_bytes())
    taken = dataclasses.replace(record, host="node7", boot="another", pid=7)
    (tmp_path / NAME).write_text(json.dumps(dataclasses.asdict(taken)))
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.count("\n") == 1 and "process 7 on node7 has been at work there" in errors
    assert (tmp_path / NAME).exists()


def test_a_folder_that_cannot_be_locked_is_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / NAME).mkdir(parents=True)
    for name, why in (("file", "File exists"), ("folder", "Is a directory")):
        with pytest.raises(UserError, match=f"--workdir=.*/{name}: cannot be written to .{why}"):
            with owned(tmp_path / name):
                pass


def test_a_second_sweep_says_who_is_at_work_and_waits(tmp_path, capsys):
    first, stop = FolderLock(tmp_path), StopFlag()
    assert first.take() is None
    stop.check = first.close  # as the second looks for a signal, the first ends
    with sweep._locked(tmp_path, stop) as lock, FolderLock(tmp_path) as third:
        assert third.take().pid == os.getpid() and lock.fileno() > 2
    said = capsys.readouterr().out
    assert f"another sweep is at work in {tmp_path}" in said and said.count("\n") == 1
    assert f"process {os.getpid()} on " in said and not (tmp_path / NAME).exists()
