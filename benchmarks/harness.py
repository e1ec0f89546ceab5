"""What every benchmark shares: contenders in processes of their own, interleaved repeats, and one
Markdown table.

A contender is a module-level function `prepare(**settings) -> Prepared`. It runs in a fresh child
process, so the peak memory that the operating system reports is its own. Import jax inside it: then
the numpy contender's process never holds XLA.
"""

import contextlib
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# ru_maxrss is in bytes on macOS, in KiB on Linux; to MiB
RSS_UNIT = 1024**2 if sys.platform == "darwin" else 1024


class Prepared(NamedTuple):
    """A contender with its data in memory.

    Attributes:
      build: () -> run; its time is reported as compile time. run() -> {name: array}, finished when
        it returns.
      device: the jax device that computes, or None.
    """

    build: Callable[[], Callable[[], dict]]
    device: Any = None


class Result(NamedTuple):
    """One contender's measurements.

    Attributes:
      seconds: per repeat, the mean time of one call.
      compile_seconds: not part of `seconds`.
      host_mib: peak resident memory beyond what the process held once its data were in memory;
        compilation included.
      device_mib: the same on the device, or None where it does not count its memory (a CPU).
      device: its name, or None.
      answer: {name: numpy array} of the last call.
      compile_mib: the part of host_mib that was reached before the first call.
      cpu_seconds: per repeat, the processor time of one call over all threads; on a busy machine
        fairer than `seconds`.
    """

    seconds: list
    compile_seconds: float
    host_mib: float
    device_mib: float | None
    device: str | None
    answer: dict
    compile_mib: float
    cpu_seconds: list


def _peak_host_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_UNIT


def _device_bytes(device, key):
    stats = device.memory_stats() if device is not None else None
    return None if stats is None else stats[key]


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
    build, device = prepare(**settings)
    host_before, device_before = _peak_host_mib(), _device_bytes(device, "bytes_in_use")
    started = time.perf_counter()
    run = build()
    compile_seconds, compile_mib = time.perf_counter() - started, _peak_host_mib() - host_before
    answer = run() if warm_up else {}
    connection.send(compile_seconds)
    while calls := _next_order(connection):
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(calls):
            answer = run()
        connection.send(
            ((time.perf_counter() - started) / calls, (time.process_time() - cpu_started) / calls)
        )
    host_mib = _peak_host_mib() - host_before
    device_mib = (
        None
        if device_before is None
        else (_device_bytes(device, "peak_bytes_in_use") - device_before) / 2**20
    )
    name = None if device is None else device.device_kind
    connection.send(
        (
            host_mib,
            device_mib,
            name,
            {key: np.asarray(value) for key, value in answer.items()},
            compile_mib,
        )
    )


def race(contenders, settings, *, repeats, calls, together=True):
    """Measures contenders in turn, `repeats` times over, so that a busy moment of the machine hits
    all of them.

    Args:
      contenders: {name: prepare}.
      settings: keyword arguments of every prepare.
      repeats: measurements per contender.
      calls: calls per measurement; more than one where a call takes milliseconds.
      together: False where the data of all contenders do not fit in memory at once: each ends
        before the next begins, and there is no call to warm up, which at such sizes would double
        the time and gain nothing.

    Returns:
      {name: Result}. A contender that fails prints its traceback and ends the benchmark with
        EOFError.
    """
    if together:
        return _race(contenders, settings, repeats, calls, warm_up=True)
    return {
        name: _race({name: prepare}, settings, repeats, calls, warm_up=False)[name]
        for name, prepare in contenders.items()
    }


def _race(contenders, settings, repeats, calls, *, warm_up):
    """`race` of contenders that are all in memory; their processes have ended when it returns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes, compile_seconds, measured = {}, [], {}, {name: [] for name in contenders}
    # closed pipes end the children, whatever ends the benchmark
    with contextlib.ExitStack() as stack:
        for name, prepare in contenders.items():
            ours, theirs = context.Pipe()
            pipes[name] = stack.enter_context(ours)
            processes.append(
                context.Process(target=_serve, args=(theirs, prepare, settings, warm_up))
            )
            processes[-1].start()  # no daemon: those may have no workers of their own
            # the child holds the only other end: should it die, recv raises instead of waiting for
            # ever
            theirs.close()
            compile_seconds[name] = pipes[name].recv()
        for _ in range(repeats):
            for name, pipe in pipes.items():
                pipe.send(calls)
                measured[name].append(pipe.recv())
        results = {}
        for name, pipe in pipes.items():
            pipe.send(0)
            seconds, cpu_seconds = (list(part) for part in zip(*measured[name], strict=True))
            results[name] = Result(seconds, compile_seconds[name], *pipe.recv(), cpu_seconds)
    for process in processes:
        process.join()
    return results


def median_ratio(ours, theirs):
    """Median over repeats of ours / theirs, each pair measured one after the other (with
    `together`).
    """
    return statistics.median(a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True))


HEADER = (
    "case",
    "contender",
    "ms",
    "dajax / this",
    "CPU ms",
    "dajax / this",
    "MiB beyond the data",
    "MiB on the device",
    "compile, s",
    "against dajax",
)


def table_row(case, name, result, ours, remark):
    """One contender's row under HEADER: strings; `ours` is dajax's Result, `remark` the last
    column.
    """
    device_mib = "" if result.device_mib is None else f"{result.device_mib:.0f}"
    compile_seconds = f"{result.compile_seconds:.1f}" if result is ours else ""
    milliseconds, ratio = (
        f"{1e3 * statistics.median(result.seconds):.3g}",
        f"{median_ratio(ours, result):.2f}",
    )
    cpu, our_cpu = (1e3 * statistics.median(x.cpu_seconds) for x in (result, ours))
    return (
        case,
        name,
        milliseconds,
        ratio,
        f"{cpu:.3g}",
        f"{our_cpu / cpu:.2f}",
        f"{result.host_mib:.0f}",
        device_mib,
        compile_seconds,
        remark,
    )


def markdown_table(rows):
    """HEADER and rows, as text."""
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
