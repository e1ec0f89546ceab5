"""Runs of the real command line that are killed, stopped or starved at chosen moments.

    python forked_runs.py SUBJECT       the server

It imports everything once, and forks a process for each run, which so begins with its work in place
of five seconds of imports.

A moment is what a run passes on its way: a file that it opens for writing, renames or removes, a
line of metrics, an event, a step, the begin of an evaluation, a refresh, a save, the final table.
A moment has a name, (stage, work, what), and they are counted, so that one which has found a fault
finds it again: `kill=("can", "save", "rename", 2, 0.0)` ends the run just before the second file
that a save of that stage renames, with 0.2 two tenths of a second later, in the middle of what
follows.
"""

import collections
import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
_LONGEST = 200.0  # seconds of a run; then it hangs
# Events of sys.addaudithook that change a folder.
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink")


class Server:
    """The server's process, and what is asked of it. Use it in a `with`.

    Args:
      subject: "real", recipes as they are; "flat", with networks of two dense layers and of one
        residual block, which are traced in a third of the time; "toy", toy_recipe.
      prefix: words before the command, ("unshare", ...).
    """

    def __init__(self, subject="real", prefix=()):
        self._subject, self._prefix = subject, prefix

    def __enter__(self):
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, __file__, self._subject],
            cwd=ROOT,
            # numpy's library of linear algebra begins threads as it is imported
            env=os.environ | {"JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()

    def run(self, words, *, workdir, **fault):
        """One run, to its end or to the fault.

        Args:
          words: what follows run.py. workdir: the moments in it count.
          kill: (stage, work, what, how many of that name, seconds after it): SIGKILL.
          signal: the same with the number of the signal before it.
          limit: bytes of RLIMIT_FSIZE.

        Returns:
          Outcome.
        """
        request = {"words": list(words), "workdir": str(workdir), **fault}
        return Outcome(**self._answer(request))

    def shell(self, command):
        """A command where the server is."""
        assert self._answer({"shell": command}) == 0, command

    def _answer(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Outcome:
    """What came of a run.

    Attributes:
      status: exit status, or minus the signal that has killed it.
      output: standard output and error.
      moments: [(seconds since the first one, stage, work, what)] that it has passed; work is the
        innermost of step, evaluation, refresh, save ... that its thread is in, "" for none.
    """

    def __init__(self, status, output, moments):
        self.status, self.output, self.moments = status, output, [tuple(x) for x in moments]


def _serve():
    """In the server's process: no thread may be here, since a fork takes only the one along."""
    from dajax.cli import main

    main._set_environment()
    import tensorflow  # noqa: F401 - TensorBoard's writer loads it where it is installed

    from dajax.cli import command  # noqa: F401
    from dajax.engine import stages  # noqa: F401

    assert len(os.listdir("/proc/self/task")) == 1, "a library has begun a thread"
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "shell" in request:
            answer = subprocess.call(request["shell"], shell=True, stdout=2)
        else:
            answer = _watch(*_begin(request), request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _prepare(subject):
    """In the child, since what is imported here computes, and so begins threads."""
    if subject == "toy":
        import toy_recipe

        toy_recipe.install()
    elif subject == "flat":
        import in_process

        from dajax.tasks.classification import setup as classification
        from dajax.tasks.segmentation import setup as segmentation

        classification.build_network = in_process.flat
        segmentation.build_segmenter = in_process.shallow(segmentation.build_segmenter)


def _begin(request):
    """Forks; (number of the child, its output, its reports)."""
    output, to_output = os.pipe()
    reports, to_reports = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(to_output, 1)
            os.dup2(to_output, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number in (output, to_output, reports):
                os.close(number)
            sys.stdout, sys.stderr = (open(number, "w", buffering=1) for number in (1, 2))
            _run(request, to_reports)
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, flush=True)
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else 1 if end.code else 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    os.close(to_output)
    os.close(to_reports)
    return child, output, reports


def _watch(child, output, reports, request):
    """Reads what a child says until it ends, and kills it where that is asked for."""
    texts, deadline = {output: b"", reports: b""}, time.monotonic() + _LONGEST
    waiting, due = [output, reports], None
    while waiting:
        now = time.monotonic()
        if now > deadline or (due is not None and now >= due):
            os.kill(child, 9)
            texts[output] += b"HANGS\n" if now > deadline else b""
            due, deadline = None, now + 10
        until = deadline if due is None else due
        for pipe in select.select(waiting, [], [], max(until - time.monotonic(), 0))[0]:
            found = os.read(pipe, 2**16)
            texts[pipe] += found
            if not found:
                waiting.remove(pipe)
                os.close(pipe)
        if due is None and "kill" in request and b'"kill"' in texts[reports]:
            due, request = time.monotonic() + request["kill"][-1], {}
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    moments = [json.loads(line) for line in texts[reports].splitlines() if b"kill" not in line]
    return {"status": status, "output": texts[output].decode(), "moments": moments}


def _run(request, reports):
    """In the child: `run.py WORDS`, with its fault."""
    import resource

    from dajax.engine import signals

    _prepare(sys.argv[1])
    signals.end_at_once()
    _Moments(request, reports).install()
    sys.argv = ["run.py", *request["words"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    if "limit" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
    from dajax.cli import command

    command.run()


class _Moments:
    """Counts the moments of this process, reports them, and does to it what is asked for."""

    def __init__(self, request, reports):
        self._request, self._reports = request, reports
        self._workdir = request["workdir"]
        self._lock, self._passed = threading.Lock(), collections.Counter()
        self._begin, self._stage, self._work = None, "", threading.local()

    def passed(self, what):
        """One more moment."""
        with self._lock:
            self._begin = self._begin or time.monotonic()
            name = (self._stage, self._of_thread()[-1], what)
            self._report([round(time.monotonic() - self._begin, 4), *name])
            self._passed[name] += 1
            if self._is_due("kill", name):
                if self._request["kill"][-1]:
                    self._report("kill")  # the server does
                else:
                    os.kill(os.getpid(), 9)
            if self._is_due("signal", name):
                number, *_, seconds = self._request["signal"]
                threading.Timer(seconds, os.kill, (os.getpid(), number)).start()

    def _is_due(self, fault, name):
        *wanted, count, _ = self._request.get(fault, (None, 0, 0))
        return tuple(wanted[-3:]) == name and self._passed[name] == count

    def _report(self, content):
        os.write(self._reports, (json.dumps(content) + "\n").encode())

    def _of_thread(self):
        if not hasattr(self._work, "names"):
            self._work.names = [""]
        return self._work.names

    def install(self):
        """Wraps what the engine calls, and listens to what Python does to files."""
        from dajax.engine import checkpoint, log, memory, rounds, run_output, stages, tensorboard
        from dajax.engine import train as loop

        sys.addaudithook(self._audit)
        for owner, name, work in (
            (memory, "report", "compile"),
            (loop._Loop, "evaluate", "evaluation"),
            (loop._Loop, "refresh", "refresh"),
            (checkpoint.Checkpoints, "_write", "save"),
            (checkpoint.Checkpoints, "restore", "restore"),
            (rounds, "conclude", "verdict"),
            (run_output, "write_results", "results"),
            (run_output, "print_table", "table"),
        ):
            setattr(owner, name, self._wrapped(getattr(owner, name), work))
        log.MetricsFile.write = self._counted(log.MetricsFile.write, "metrics")
        tensorboard.TensorBoard._add = self._counted(tensorboard.TensorBoard._add, "event")
        compile_step, fit = loop.compile_step, stages.fit

        def compiled(stage):
            step = compile_step(stage)
            wrapped = self._wrapped(step, "step")
            wrapped.lower = step.lower
            return wrapped

        def fitted(stage):
            self._stage = stage.name
            return fit(stage)

        loop.compile_step, stages.fit = compiled, fitted

    def _wrapped(self, function, work):
        def wrapped(*args, **kwargs):
            self._of_thread().append(work)
            self.passed(work)
            try:
                return function(*args, **kwargs)
            finally:
                self._of_thread().pop()

        return wrapped

    def _counted(self, function, what):
        def counted(*args, **kwargs):
            self.passed(what)
            return function(*args, **kwargs)

        return counted

    def _audit(self, event, args):
        if event == "open":
            path, mode, flags = args
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in _CHANGES:
            return
        with contextlib.suppress(TypeError, ValueError):
            path = os.fspath(args[0])
            if isinstance(path, str) and path.startswith(self._workdir):
                self.passed(event.removeprefix("os."))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    _serve()
