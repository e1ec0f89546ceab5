"""How the processes of a run find each other, by `jax.distributed`, and part again. What they say
to each other in between: dajax.processes.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable

import jax

from dajax import console, process_watch, processes
from dajax.errors import StopRequested, UserError

AUTO = "auto"  # config.runtime.coordinator: where the cluster's environment says the rest
# Seconds without a sign of life after which JAX gives a process up. `process_watch` sees at once
# what the operating system sees; this is for a machine that loses its power. JAX's own 100 would
# miss the minute that docs/devices.md promises.
_HEARTBEAT_SECONDS = 40
_JOIN_SECONDS = 300  # for all processes to come; JAX's default


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
    watch = process_watch.Watch(processes.index(), processes.count())
    watch.begin(processes.from_first_object(lambda: watch.listen(host)))
    try:
        yield
        processes.meet("end")
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
    processes.set_place(jax.process_index(), jax.process_count())
    if not processes.is_first():
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
