"""Contenders in processes of their own, measured in turn, repeat after repeat.

A contender is a module-level function `prepare(**settings) -> Prepared`, or a functools.partial of
one. It runs in a fresh child process, so that the memory is its own. Import jax inside it: then the
process of numpy's contender never holds XLA.
"""

import contextlib
import multiprocessing
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# ru_maxrss is in bytes on macOS, in KiB on Linux; to MiB
RSS_UNIT = 1024**2 if sys.platform == "darwin" else 1024
_STATUS, _CLEAR = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
CUDA = "cuda"


class Prepared(NamedTuple):
    """A contender with its data in memory.

    Attributes:
      build: () -> run; its time is reported as compile time. run() -> {name: array}, finished when
        it returns. The harness reads "planned_mib" of it, what a compiler has set aside for a call.
      device: the jax device that computes, CUDA for torch on a GPU, or None.
      is_command: the work is that of a child process, which has ended when a run returns, and so
        is the memory.
    """

    build: Callable[[], Callable[[], dict]]
    device: Any = None
    is_command: bool = False


class Result(NamedTuple):
    """One contender's measurements.

    Attributes:
      seconds: per repeat, the mean time of one call.
      cpu_seconds: per repeat, the processor time of one call over all threads and processes.
      compile_seconds: not part of `seconds`.
      host_mib: peak resident memory of the calls beyond what the process held once its data were in
        memory; of the compilation what stays. Of a command, that of its largest process.
      device_mib: the same on the device, compilation included, or None where it does not count its
        memory (a CPU).
      answer: {name: numpy array} of the last call.
    """

    seconds: list
    cpu_seconds: list
    compile_seconds: float
    host_mib: float
    device_mib: float | None
    answer: dict

    @property
    def mib(self):
        """Of the device where it counts, else of the host."""
        return self.host_mib if self.device_mib is None else self.device_mib


def status_mib(key):
    """A figure of /proc/self/status, MiB: "VmRSS", memory now, or "VmHWM", at its peak."""
    if not _STATUS.exists():  # not Linux; there is only the peak
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_UNIT
    line = next(x for x in _STATUS.read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) / 1024


def _forget_peak():
    """Lets VmHWM begin anew, where the system allows it."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def _give_back_freed():
    """What dajax gives back to the system before a run's first step."""
    if "jax" in sys.modules:
        from dajax.engine import memory

        memory.give_back_freed()


def _children_mib():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / RSS_UNIT


def _device_mib(device, is_peak):
    """Memory that a device counts now or at its peak, MiB, or None."""
    if device == CUDA:
        import torch

        count = torch.cuda.max_memory_allocated if is_peak else torch.cuda.memory_allocated
        return count() / 2**20
    stats = device.memory_stats() if device is not None else None
    key = "peak_bytes_in_use" if is_peak else "bytes_in_use"
    return None if stats is None else stats[key] / 2**20


def _cpu_seconds():
    """Processor time of this process, of its children that have ended and of those that live."""
    times = os.times()
    ended = times.children_user + times.children_system
    return time.process_time() + ended + sum(map(_cpu_of, _living("self")))


def _living(process):
    """Numbers of a process's living descendants; none where there is no /proc."""
    for path in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread or a process that has just ended
            for child in path.read_text().split():
                yield child
                yield from _living(child)


def _cpu_of(process):
    """Processor seconds of another process and of its children that have ended."""
    try:
        text = pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()  # from the third field of proc(5) on
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _next_order(connection):
    """How many calls; exits where the benchmark has ended without this contender."""
    try:
        return connection.recv()
    except EOFError:
        sys.exit(1)


def _serve(connection, prepare, settings, warm_up):
    """A contender's process: prepares, compiles, may warm up, then runs whenever it is told how
    many calls.
    """
    # several contenders share a GPU, and what each takes is to be seen
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    build, device, is_command = prepare(**settings)
    _give_back_freed()
    host_before, device_before = status_mib("VmRSS"), _device_mib(device, is_peak=False)
    started = time.perf_counter()
    run = build()
    compile_seconds = time.perf_counter() - started
    _give_back_freed()  # as a run does once it has compiled its step
    _forget_peak()
    answer = run() if warm_up else {}
    connection.send(compile_seconds)
    while calls := _next_order(connection):
        started, cpu_started = time.perf_counter(), _cpu_seconds()
        for _ in range(calls):
            answer = run()
        seconds = time.perf_counter() - started
        connection.send((seconds / calls, (_cpu_seconds() - cpu_started) / calls))
    host_mib = _children_mib() if is_command else status_mib("VmHWM") - host_before
    device_peak = _device_mib(device, is_peak=True)
    connection.send(
        (
            compile_seconds,
            host_mib,
            None if device_peak is None else device_peak - device_before,
            {key: np.asarray(value) for key, value in answer.items()},
        )
    )


def race(contenders, settings, *, repeats, calls=1, warm_up=True, together=True, at_once=False):
    """Measures contenders in turn, `repeats` times over, so that a busy moment of the machine hits
    all of them.

    Args:
      contenders: {name: prepare}.
      settings: keyword arguments of every prepare.
      repeats: measurements per contender.
      calls: calls per measurement; more than one where a call takes milliseconds.
      warm_up: whether a call that is not measured goes first.
      together: False where the data of all contenders do not fit in memory at once: each ends
        before the next begins.
      at_once: all compile at the same time, on a machine with cores to spare whose GPU computes;
        else one after the other.

    Returns:
      {name: Result}.

    Raises:
      ValueError: at_once of contenders that are not together.
      EOFError, ConnectionError: a contender failed; its traceback is on the standard error.
    """
    if at_once and not together:
        raise ValueError("contenders that run one after another cannot compile at once")
    if together:
        return _race(contenders, settings, repeats, calls, warm_up, at_once)
    return {
        name: _race({name: prepare}, settings, repeats, calls, warm_up, False)[name]
        for name, prepare in contenders.items()
    }


def _race(contenders, settings, repeats, calls, warm_up, at_once):
    """`race` of contenders that are all in memory; their processes have ended when it returns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes, measured = {}, [], {name: [] for name in contenders}
    try:
        # closed pipes end the children, whatever ends the benchmark
        with contextlib.ExitStack() as stack:
            for name, prepare in contenders.items():
                ours, theirs = context.Pipe()
                pipes[name] = stack.enter_context(ours)
                processes.append(
                    context.Process(target=_serve, args=(theirs, prepare, settings, warm_up))
                )
                processes[-1].start()  # no daemon: those may have no workers of their own
                # the child holds the only other end: should it die, recv raises instead of waiting
                # for ever
                theirs.close()
                if not at_once:
                    pipes[name].recv()
            if at_once:
                for pipe in pipes.values():
                    pipe.recv()
            for _ in range(repeats):
                for name, pipe in pipes.items():
                    pipe.send(calls)
                    measured[name].append(pipe.recv())
            results = {}
            for name, pipe in pipes.items():
                pipe.send(0)
                seconds, cpu_seconds = (list(part) for part in zip(*measured[name], strict=True))
                results[name] = Result(seconds, cpu_seconds, *pipe.recv())
    finally:
        for process in processes:
            process.join()
    return results
