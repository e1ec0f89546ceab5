"""The processes of a sweep's runs: several at once, their output line by line, and how they end."""

import ctypes
import os
import pathlib
import select
import signal
import subprocess
import sys

from dajax import console

_RUN_PY = pathlib.Path(__file__).resolve().parents[2] / "run.py"
# How a run of its own is started: run.py finds dajax beside itself, whatever the working directory.
RUN = [sys.executable, *([str(_RUN_PY)] if _RUN_PY.exists() else ["-m", "dajax"])]
_POLL_SECONDS = 0.2
_CHUNK = 2**16  # bytes of a child's output at a time; a pipe of Linux holds as many


class Child:
    """One run's process.

    Args:
      run: sweep_plan.Run.
      title: "run 1/3: seed 0".
      flags: words for it that are no part of its config.
      lock: open file, inherited, so that the sweep's folder stays locked for as long as it lives.
      is_alone: its output is this process's own; else it comes in lines with the run's name.
      gpu: value of CUDA_VISIBLE_DEVICES; None leaves it as it is.
    """

    def __init__(self, run, title, flags, lock, *, is_alone, gpu=None):
        self.run, self.title, self.gpu = run, title, gpu
        self._rest, self._is_told = b"", False
        command = [*RUN, f"--config={run.recipe}", *run.overrides, f"--workdir={run.workdir}"]
        pipes = {} if is_alone else dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # A process group of its own: Ctrl-C reaches it through us only, since two of them would
        # stop it at once, nothing saved.
        self._process = subprocess.Popen(
            [*command, *flags],
            process_group=0,
            pass_fds=[lock.fileno()],
            preexec_fn=_stop_with_parent,
            env=None if gpu is None else os.environ | {"CUDA_VISIBLE_DEVICES": gpu},
            **pipes,
        )
        self.output = self._process.stdout
        if self.output is not None:
            os.set_blocking(self.output.fileno(), False)

    def status(self):
        """Its exit status; None while it runs. Says all that it has said."""
        status = self._process.poll()
        while self.output is not None:
            try:
                found = os.read(self.output.fileno(), _CHUNK)
            except BlockingIOError:
                if status is None:
                    break
                found = b""  # a process of its own may hold the pipe open for longer than it lives
            *lines, self._rest = (self._rest + found).split(b"\n")
            for line in lines if found else filter(None, [self._rest]):
                self._say(line)
            if not found:
                self.output.close()
                self.output = None
        return status

    def _say(self, line):
        console.say(f"[{self.run.label()}] {line.decode(errors='backslashreplace')}".rstrip())

    def tell(self, number):
        """Sends a signal, once."""
        if not self._is_told and self._process.poll() is None:
            self._process.send_signal(number)
        self._is_told = True

    def wait(self, seconds):
        """Until it ends, at most so long."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass

    def end(self):
        """Ends it as a second Ctrl-C does, and waits for it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            while self.status() is None:
                self.wait(_POLL_SECONDS)


class Pool:
    """At most `size` children at once.

    Args:
      size: number of children.
      stop: StopFlag; its signal is handed on to every child once.
      gpus: values of CUDA_VISIBLE_DEVICES, of which each child has one to itself; [] for none.
    """

    def __init__(self, size, stop, gpus=()):
        self._size, self._stop, self._free = size, stop, list(gpus)
        self._children = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self._children:
            child.end()

    def is_full(self):
        return len(self._children) >= self._size

    def is_empty(self):
        return not self._children

    def start(self, run, title, flags, lock):
        """Starts one more."""
        gpu = self._free.pop(0) if self._free else None
        self._children.append(Child(run, title, flags, lock, is_alone=self._size == 1, gpu=gpu))

    def next_end(self):
        """Waits until a child has ended; returns (child, its exit status)."""
        while True:
            for child in self._children:
                status = child.status()
                if status is not None:
                    self._children.remove(child)
                    self._free += [] if child.gpu is None else [child.gpu]
                    return child, status
                if self._stop.signal is not None:
                    child.tell(self._stop.signal)
            self._wait()

    def _wait(self):
        outputs = [child.output for child in self._children if child.output is not None]
        if outputs:
            select.select(outputs, [], [], _POLL_SECONDS)
        else:
            self._children[0].wait(_POLL_SECONDS)


def _stop_with_parent():
    """A sweep that is killed outright takes its runs along (Linux); elsewhere they go on, and the
    lock makes the next sweep wait.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG
