"""Several processes that train as one, on one machine or on many, by `jax.distributed`.

Every process runs the same program. It reads its share of each batch, its devices compute their
rows, and all hold the same parameters. What must be decided by looking at files the first process
decides, and it alone writes checkpoints, figures and tables. Pseudo-labels are the exception: each
process writes those of its images. So the workdir lies on a file system that all of them see.

In a run of one process every word here is the identity and costs nothing.
"""

import collections
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dajax import console, parallel, process_watch
from dajax.errors import StopRequested, UserError
from dajax.typing import PyTree

AUTO = "auto"  # config.runtime.coordinator: where the cluster's environment says the rest
# Seconds without a sign of life after which JAX gives a process up. `process_watch` sees at once
# what the operating system sees; this is for a machine that loses its power. JAX's own 100 would
# miss the minute that docs/devices.md promises.
_HEARTBEAT_SECONDS = 40
_JOIN_SECONDS = 300  # for all processes to come; JAX's default
# Bytes that travel at a time; as many from each process stand on every device. Ours.
_PIECE_BYTES = 16 * 2**20

_index, _count = 0, 1


def index() -> int:
    """The number of this process, from 0."""
    return _index


def count() -> int:
    """How many processes the run has."""
    return _count


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return _index == 0


def check(runtime) -> None:
    """Raises UserError where the keys of config.runtime do not fit together."""
    address, number, own = runtime.coordinator, runtime.num_processes, runtime.process_id
    if address in ("", AUTO):
        given = [
            f"config.runtime.{key}={value}"
            for key, value, default in (("num_processes", number, 0), ("process_id", own, 0))
            if value != default
        ]
        if given:
            why = f"is '{AUTO}', where the cluster says the rest" if address else "is not set"
            raise UserError(
                f"{' and '.join(given)}: belongs to config.runtime.coordinator=HOST:PORT, which"
                f" {why}; set or leave out both"
            )
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"config.runtime.coordinator='{address}': expected HOST:PORT of the first process, for"
            f" example node1:12345, or '{AUTO}'"
        )
    if number < 1 or not 0 <= own < number:
        raise UserError(
            f"config.runtime.num_processes={number}, config.runtime.process_id={own}: expected how"
            " many processes share the run, and this one's number, from 0 to one less than that"
        )


@contextlib.contextmanager
def joined(runtime, describe: Callable[[BaseException], str] = str):
    """Joins the other processes of the run, before JAX has looked for devices; a run of one process
    has none. This process belongs to them until it ends.

    Args:
      runtime: config.runtime. `coordinator` is HOST:PORT of the first process, `num_processes` and
        `process_id` belong to it; or "auto", for what JAX finds in the environment of SLURM, Open
        MPI or Kubernetes; or "", for one process.
      describe: error -> the line in which the others are told of it.

    Raises:
      UserError: the keys do not fit together, there is no such environment, or the others are not
        reached in time.
    """
    check(runtime)
    if not runtime.coordinator:
        yield
        return
    _initialize(runtime)
    host = "" if runtime.coordinator == AUTO else runtime.coordinator.rpartition(":")[0]
    watch = process_watch.Watch(_index, _count)
    watch.begin(from_first_object(lambda: watch.listen(host)))
    try:
        yield
        meet("end")
    except StopRequested as stop:
        if stop.signal == signal.SIGPIPE:  # the first one's alone, see dajax.console
            watch.tell("nobody reads what it prints; everything so far is saved", 128 + stop.signal)
        else:  # all have agreed on it
            watch.end()
        raise
    except BaseException as error:
        watch.tell(describe(error), 1)
        raise
    watch.end()


def _initialize(runtime):
    global _index, _count
    # its handler of SIGTERM would take the place of dajax.engine.signals
    jax.config.update("jax_enable_preemption_service", False)
    arguments = dict(
        initialization_timeout=_JOIN_SECONDS, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS
    )
    if runtime.coordinator != AUTO:
        _check_address(runtime)
        arguments |= dict(
            coordinator_address=runtime.coordinator,
            num_processes=runtime.num_processes,
            process_id=runtime.process_id,
            cluster_detection_method="deactivate",
        )
    with _not_for_ever(runtime):
        try:
            jax.distributed.initialize(**arguments)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(_why_not_joined(runtime, str(error))) from error
    _index, _count = jax.process_index(), jax.process_count()
    if not is_first():
        console.be_silent()


def _check_address(runtime):
    """Raises UserError where the coordinator's host has no address, or its port is taken: JAX would
    abort with a stack of C++.
    """
    host, _, port = runtime.coordinator.rpartition(":")
    key = f"config.runtime.coordinator='{runtime.coordinator}'"
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        raise UserError(
            f"{key}: {host} has no address on {socket.gethostname()} ({error.strerror}); give the"
            " first process's machine as all others know it"
        ) from error
    if runtime.process_id == 0:
        try:
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise UserError(
                f"{key}: port {port} cannot be opened on {socket.gethostname()} ({error.strerror});"
                " choose another one, or end the process that has it"
            ) from error


@contextlib.contextmanager
def _not_for_ever(runtime):
    """Ends the process with a line where the others have not come in time, a moment before JAX
    would abort.
    """

    def end():
        line = _why_not_joined(runtime, f"{_JOIN_SECONDS} seconds have passed")
        os.write(2, f"error: {line}\n".encode())
        os._exit(1)

    if runtime.process_id == 0:
        console.say(f"waiting for the other processes, {_JOIN_SECONDS} seconds at most ...")
    timer = threading.Timer(_JOIN_SECONDS - 2, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _why_not_joined(runtime, reason):
    reason = reason.strip().partition("\n")[0].rstrip(".")
    if runtime.coordinator == AUTO:
        return (
            f"config.runtime.coordinator='{AUTO}': nothing of a cluster to start from ({reason});"
            " start with srun or mpirun, or give coordinator=HOST:PORT, num_processes and"
            " process_id"
        )
    return (
        f"config.runtime.coordinator='{runtime.coordinator}': process {runtime.process_id} of"
        f" {runtime.num_processes}, on {socket.gethostname()}, does not reach the others"
        f" ({reason}); start all of them, with one address and one count, and each number once"
    )


def meet(name: str) -> None:
    """Returns when every process is here."""
    if _count > 1:
        multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def first_before_others(name: str):
    """Lets the first process do the enclosed work alone, and then the others, who find what it has
    written.
    """
    if not is_first():
        meet(name)
    yield
    if is_first():
        meet(name)


def gathered(array: Any) -> np.ndarray:
    """[processes, ...]: the array of every process; one shape and one type everywhere.

    What travels is bytes, so that JAX does not narrow int64 and float64.
    """
    array = np.ascontiguousarray(array)
    if _count == 1 or not array.size:
        return np.stack([array] * _count)
    found = multihost_utils.process_allgather(array.reshape(-1).view(np.uint8))
    return np.asarray(found).view(array.dtype).reshape((_count, *array.shape))


def total(*parts: Any) -> tuple:
    """The sum of each array over the processes, in their order: the same bits everywhere.

    Args:
      parts: arrays, of one shape and type everywhere; or None, all of them, in a process that has
        had no batch to make them of. Those of numpy are changed in place.

    Returns: numpy arrays of the same types; in a run of one process the parts themselves.
    """
    if _count == 1:
        return parts
    own = None if parts[0] is None else [np.asarray(part) for part in parts]
    kinds = None if own is None else [(part.shape, part.dtype.str) for part in own]
    known = next(found for found in gathered_objects(kinds) if found is not None)
    if own is None:
        own = [np.zeros(shape, dtype) for shape, dtype in known]
    return tuple(_by_pieces(part, lambda pieces: pieces.sum(0, pieces.dtype)) for part in own)


def from_first(tree: PyTree) -> PyTree:
    """The first process's arrays, everywhere.

    Args:
      tree: of arrays; their shapes and types are the same everywhere, their values count in the
        first process alone.

    Returns: numpy arrays; the tree itself in a run of one process.
    """
    if _count == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    content = np.concatenate([np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in leaves])
    content = _by_pieces(content, lambda pieces: pieces[0])
    ends = np.cumsum([leaf.nbytes for leaf in leaves])[:-1]
    parts = zip(np.split(content, ends), leaves, strict=True)
    found = [part.copy().view(leaf.dtype).reshape(leaf.shape) for part, leaf in parts]
    return jax.tree.unflatten(structure, found)


def rows_of_all(rows: np.ndarray | None, places: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order: [N, ...].

    Args:
      rows: [n, ...] of this process, None where it has none.
      places: int [n], the place of each; all places below N are some process's.
    """
    size, whole = agreed(int(np.max(places, initial=-1))) + 1, None
    if rows is not None:
        whole = np.zeros((size, *rows.shape[1:]), rows.dtype)
        whole[places] = rows
    return total(whole)[0]


def _by_pieces(array, combine):
    """`combine` of [processes, n] pieces of an array, of its shape; in place where that can be."""
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = np.array(array, order="C")
    flat, size = array.reshape(-1), _PIECE_BYTES // array.itemsize
    for start in range(0, flat.size, size):
        flat[start : start + size] = combine(gathered(flat[start : start + size]))
    return array


def agreed(number: int) -> int:
    """The largest of the numbers that the processes give."""
    return int(gathered(np.array([number])).max())


class Agreement:
    """The largest of the numbers that the processes give, asked for at every step: the answer is
    that of _LAG questions ago, so that nobody waits for it. All have the same answers.
    """

    _LAG = 2  # questions: what a device may have before it beside the step that it computes

    def __init__(self):
        self._asked, self._ask = collections.deque(), None

    def __call__(self, number: int) -> int:
        """Asks, and answers an earlier question, 0 where there is none yet."""
        if _count == 1:
            return number
        if self._ask is None:
            self._ask = jax.pmap(lambda x: jax.lax.pmax(x, "devices"), axis_name="devices")
        asked = self._ask(np.full(jax.local_device_count(), number, np.int32))
        self._asked.append(parallel.in_order(asked))
        if len(self._asked) <= self._LAG:
            return 0
        return int(np.asarray(self._asked.popleft().addressable_data(0)).max())


def gathered_objects(own: Any) -> list:
    """What each process gives, JSON-able; with lists for tuples."""
    content = np.frombuffer(json.dumps(own).encode(), np.uint8)
    lengths = gathered(np.array([content.size]))[:, 0]
    rows = gathered(np.pad(content, (0, lengths.max() - content.size)))
    return [json.loads(bytes(row[:n])) for row, n in zip(rows, lengths, strict=True)]


def from_first_object(make: Callable[[], Any]) -> Any:
    """What `make` returns in the first process, which alone calls it; JSON-able."""
    if _count == 1:
        return make()
    return gathered_objects(make() if is_first() else None)[0]
