"""Whatever ends a run is one printable line with a remedy that its cause has chosen; Ctrl-C and
SIGTERM end it orderly from the first second.
"""

import errno
import os
import shlex
import signal
import subprocess
import sys
import time

import jax
import pytest
import tiny

from dajax import console, parallel
from dajax.cli import failures, recipe
from dajax.cli.failures import LONGEST_LINE, one_line
from dajax.errors import StopRequested, UserError
from data_pipeline.errors import DataError


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a.jpg: gone", "a.jpg: gone"),
        ("größe→é", "größe→é"),
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        (os.fsdecode(b"f\xff.jpg"), r"f\xff.jpg"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("\ud800", r"\ud800"),
        ("  x \n", "x"),
    ],
)
def test_an_error_is_shown_as_one_line_of_what_can_be_printed(text, shown):
    assert one_line(text) == shown and one_line(text).isprintable()


def test_a_long_error_keeps_its_beginning_and_its_end():
    line = one_line("first " + "x" * 10_000 + " do this")
    assert (
        len(line) == LONGEST_LINE
        and line.startswith("first xxx")
        and line.endswith("xxx do this")
        and " [...] " in line
    )
    assert one_line("y" * LONGEST_LINE) == "y" * LONGEST_LINE


class XlaRuntimeError(RuntimeError):
    """Named as jaxlib's."""


@pytest.mark.parametrize(
    "error, says",
    [
        (UserError("config.x=1: expected 2"), ("config.x=1: expected 2",)),
        (DataError("a\nb"), (r"a\nb",)),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d/f"),
            ("/d/f: No space left on device", "free some space"),
        ),
        (OSError(errno.EACCES, "Permission denied", "/d/f"), ("/d/f: Permission denied", "right")),
        (OSError(errno.EROFS, "Read-only file system", "/d/f"), ("/d/f", "choose another place")),
        (OSError(errno.EMFILE, "Too many open files", "/d/f"), ("/d/f", "ulimit -n")),
        (
            OSError(errno.EADDRINUSE, "Address already in use"),
            ("Address already in use", "another process"),
        ),
        (
            OSError(errno.EIO, "Input/output error", "/d/f"),
            ("/d/f: Input/output error", "disk or the network"),
        ),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "/d/f", None, "/e/g"),
            ("/d/f and /e/g: Invalid cross-device link",),
        ),
        (MemoryError(), ("memory is used up", "batch_size")),
        (
            MemoryError("Unable to allocate 3. GiB for an array"),
            ("memory is used up: Unable to allocate 3. GiB", "batch_size"),
        ),
        (
            XlaRuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBufferAssignment: ..."
            ),
            (
                (
                    "out of memory on the device: RESOURCE_EXHAUSTED: Out of memory allocating 9 "
                    "bytes;"
                ),
                "--config.STAGE.batch_size",
            ),
        ),
        (
            XlaRuntimeError(
                "INTERNAL: Failed to allocate: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
            ),
            ("out of memory on the device", "batch_size"),
        ),
        (
            RuntimeError("Unable to initialize backend 'tpu': no TPU"),
            ("JAX finds no device", "unset JAX_PLATFORMS"),
        ),
        (
            XlaRuntimeError("INTERNAL: what\never"),
            (r"XlaRuntimeError: INTERNAL: what\never", "--debug", "report"),
        ),
        (AssertionError(), ("AssertionError: without a message", "--debug", "report")),
        (RecursionError("maximum recursion depth exceeded"), ("RecursionError", "--debug")),
        (KeyError("x"), ("KeyError: 'x'", "--debug")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_is_a_line_with_the_remedy_of_its_cause(error, says):
    line = failures.describe(error)
    assert line.isprintable() and all(part in line for part in says), line
    assert ("free some space" in line) == (getattr(error, "errno", None) == errno.ENOSPC), (
        "a remedy of the cause alone"
    )


def test_a_method_in_a_stage_of_another_recipe_names_the_key_that_it_misses():
    stage = recipe.read(f"{tiny.ROOT}/configs/can.py", ["--config.can.method=dann"]).can
    # the second is like one that is there, which ml_collections then says too
    for key in ("discriminator_width", "maxloops"):
        with pytest.raises(AttributeError) as raised:
            getattr(stage, key)
        line = failures.describe(raised.value)
        assert f"the config has no key '{key}', which is read here" in line, line
    assert "was not foreseen" in failures.describe(
        AttributeError("'int' object has no attribute 'x'")
    )


@pytest.mark.parametrize(
    "error", [AssertionError(), RuntimeError("Unknown backend: 'nonsense' requested\nmore")]
)
def test_a_platform_that_is_not_there_is_named(monkeypatch, error):
    def refuse():
        raise error

    monkeypatch.setattr(jax, "local_devices", refuse)
    with pytest.raises(
        UserError, match="JAX_PLATFORMS=cpu: JAX finds no such device here.*; unset JAX_PLATFORMS"
    ) as raised:
        parallel.devices(0)
    assert "\n" not in str(raised.value)


def test_a_run_whose_log_is_on_a_full_disk_stops_as_for_a_signal(monkeypatch, capfd):
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(StopRequested):
            console.say("step 1")
    assert "standard output cannot be written to: No space left on device" in capfd.readouterr().err


CLOSED = """
import sys
from dajax.cli import standard_streams
standard_streams.open_closed()
print("lost"), print("lost", file=sys.stderr)
with open(sys.argv[1], "w") as file:
    print("lost", flush=True)
    file.write(str(file.fileno()))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_process_without_standard_streams_writes_into_no_file_of_its_own(tmp_path, closed):
    words = shlex.join([sys.executable, "-c", CLOSED, str(tmp_path / "file")])
    assert subprocess.run(f"{words} {closed}", shell=True, cwd=tiny.ROOT).returncode == 0
    assert int((tmp_path / "file").read_text()) > 2, "the number alone"


def test_a_run_whose_reader_has_gone_stops_as_for_a_signal(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(StopRequested) as stopped:
            console.say("step 1")
        assert stopped.value.signal == signal.SIGPIPE
        console.say("what is said while saving goes nowhere")


# In C for about a minute: Python's own handlers would come after it. Then one for a flag that
# listens.
PROGRAM = """
import hashlib, re, sys, time
from dajax.engine import signals
from dajax.errors import StopRequested
signals.end_at_once()
if sys.argv[1] == "flag":
    stop = signals.StopFlag()
    try:
        with stop.listening():
            print("ready", flush=True)
            while True:
                stop.check()
                time.sleep(0.02)
    except StopRequested as error:
        time.sleep(0.3)  # the thread must not come between
        print("saved", flush=True)
        sys.exit(128 + error.signal)
if sys.argv[1] == "compile":
    stop = signals.StopFlag()
    with stop.listening():
        stop.idle()
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000_000)
print("ready", flush=True)
if sys.argv[1] == "sleep":
    time.sleep(60)
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000_000)
"""


@pytest.mark.parametrize(
    "doing, said",
    [
        ("compute", "stopped by {}, with nothing unsaved"),
        ("sleep", "stopped by {}"),
        ("flag", "saved"),
        ("compile", "stopped by {}"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_at_once_what_has_nothing_to_save_and_asks_what_has(doing, said, number):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, doing],
        cwd=tiny.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert output.splitlines()[0].startswith(said.format(number.name)) and output.count("\n") == 1


def test_a_flag_that_is_up_already_is_seen_before_a_long_compilation():
    from dajax.engine.signals import StopFlag

    stop = StopFlag()
    stop.idle()
    stop.busy()
    stop.signal = signal.SIGTERM
    with pytest.raises(StopRequested):
        stop.idle()


@pytest.mark.skipif(
    sys.platform != "linux", reason="/proc says when the process is ready for signals"
)
@pytest.mark.parametrize(
    "number, flags",
    [
        (signal.SIGTERM, []),
        (signal.SIGINT, ["--mode=eval"]),
        (signal.SIGTERM, ["--mode=check_data"]),
        (signal.SIGINT, ["--seeds=0,1"]),
    ],
)
def test_a_signal_before_the_loop_is_one_line_and_nothing_is_left(tmp_path, number, flags):
    """While libraries are imported, or the data are opened: wherever the machine has come to."""
    process = subprocess.Popen(
        tiny.command(tmp_path / "run", *flags, "--config.can.max_loops=2"),
        cwd=tiny.ROOT,
        env=tiny.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=os.setpgrp,
    )
    deadline = time.monotonic() + 20
    # the second thread is the one that waits for signals
    while len(os.listdir(f"/proc/{process.pid}/task")) == 1:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number and errors == ""
    assert (
        output == f"stopped by {number.name}, with nothing unsaved; "
        "to continue, run the same command again\n"
    )
