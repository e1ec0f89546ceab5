"""What a run says: metrics.jsonl, TensorBoard events, and a bar on a terminal or plain lines in a log file."""

import contextlib
import io
import json
import math
import os
import signal
import sys
import time

from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tqdm import tqdm

from dajax import storage
from dajax.errors import StopRequested, UserError


def say(text=""):
    """One line to the terminal, above a progress bar if there is one.

    Raises:
      StopRequested: nobody reads standard output any more (`| head`), or the disk of a log file is full; the run then stops as it does
        for a signal, with everything saved.
    """
    try:
        tqdm.write(str(text), file=sys.stdout)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # where the reader has gone nobody asks why
            with contextlib.suppress(OSError):
                os.write(2, f"standard output cannot be written to: {error.strerror}\n".encode())
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what its buffer still holds would complain at exit
        os.close(nowhere)
        raise StopRequested(signal.SIGPIPE) from error


class MetricsFile:
    """`metrics.jsonl`: one object a line, {"step", "kind", figures...}; no times in it, so that an interrupted run writes the same file.

    A checkpoint remembers how long the file was; resuming cuts what came after, because those steps will be run, and written, again.
    What a power failure or an editor has done to the part before is said; its whole lines stay.

    Args:
      path: of the file; its folder is created.
      length: bytes that the checkpoint remembers.

    Raises:
      UserError: it cannot be written to.
    """

    def __init__(self, path, length):
        self._path = path
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            found = path.read_bytes()[:length] if path.exists() else b""
            lines = list(_whole_lines(found))
            kept = b"".join(line + b"\n" for line, _ in lines)
            if len(found) < length or kept != found:
                lost = f"its {len(lines)} whole lines are kept, the others are lost"
                say(f"{path}: has {len(found)} of the {length} bytes that the checkpoint remembers, or holds what is no metric; {lost}")
            if kept != found:
                _replace(path, kept)
            self._file = open(path, "ab")
            self._file.truncate(len(kept))
            self._file.seek(len(kept))

    def write(self, step, kind, figures):
        """Appends one line. kind: "train", "refresh" or "evaluation"."""
        with _told(self._path):
            self._file.write((json.dumps({"step": step, "kind": kind, **figures}) + "\n").encode())
            self._file.flush()

    def sync(self):
        """Bytes written so far, which a power failure then leaves as they are."""
        with _told(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self):
        """Releases the file."""
        with _told(self._path):
            self._file.close()


def read_metrics(path):
    """List of the objects of a metrics.jsonl; [] where there is none. Lines that are not whole are left out, and said."""
    content = path.read_bytes() if path.exists() else b""
    lines = list(_whole_lines(content))
    if b"".join(line + b"\n" for line, _ in lines) != content:
        say(f"{path}: some lines are not whole; {len(lines)} are taken")
    return [row for _, row in lines]


def _whole_lines(content):
    """(line, its object) of every line that ends and is a metric. NULs, which versions before put where bytes were lost, are taken off."""
    for line in content.split(b"\n")[:-1]:
        line = line.strip(b"\0")
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row and "kind" in row:
            yield line, row


@contextlib.contextmanager
def _told(path):
    try:
        yield
    except OSError as error:
        reason, remedy = storage.cause(error)
        raise UserError(f"cannot write {path}: {reason}. To go on, {remedy}, then run the same command again") from error


class TensorBoard:
    """Scalars as TensorBoard events, written by the tensorboard package alone: TensorFlow need not be there.

    A checkpoint remembers how long each file was; resuming cuts what came after, as in `MetricsFile`. TensorBoard itself forgets by
    step, which leaves what a stage writes at the very step of a checkpoint but after it (a refresh, an evaluation) there twice.

    Args:
      directory: of the event files.
      restart_step: the first step that will be written.
      lengths: {file name: bytes} that the checkpoint remembers; None when it is of a version that did not.

    Raises:
      UserError: it cannot be written to.
    """

    def __init__(self, directory, restart_step, lengths):
        self._directory = directory
        before = self._files()
        with _told(directory):
            if lengths is not None:
                self._go_back_to(lengths, before)
            self._writer = EventFileWriter(str(directory))
        if before:  # a TensorBoard that is looking on forgets the steps that will be written again
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(event_pb2.Event(wall_time=time.time(), step=restart_step, session_log=session))

    def _go_back_to(self, lengths, before):
        """Cuts what came after the checkpoint; says where less is left than it remembers."""
        found = {path.name: path.stat().st_size for path in before}
        for path in before:
            _cut(path, lengths.get(path.name, 0))
        if short := sorted(name for name, length in lengths.items() if found.get(name, 0) < length):
            say(
                f"{self._directory}: of {', '.join(short)} less is left than the checkpoint remembers; TensorBoard "
                "lacks those steps, metrics.jsonl is the record"
            )

    def scalars(self, step, prefix, figures):
        """Writes every plain number among `figures` as "prefix/name"."""
        values = [
            summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)
            for name, value in figures.items()
            if isinstance(value, (int, float))
        ]
        self._summary(step, values)

    def picture(self, step, name, picture):
        """Writes uint8 [H, W, 3] as an image."""
        height, width, _ = picture.shape
        image = summary_pb2.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=_png(picture))
        self._summary(step, [summary_pb2.Summary.Value(tag=f"pictures/{name}", image=image)])

    def sync(self):
        """{file name: bytes} of all event files, with everything so far in them."""
        with _told(self._directory):
            self._writer.flush()
            return {path.name: path.stat().st_size for path in self._files()}

    def close(self):
        """Flushes and releases the file."""
        with _told(self._directory):
            self._writer.close()

    def _files(self):
        return sorted(self._directory.glob("events.out.tfevents.*"))

    def _summary(self, step, values):
        self._add(event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)))

    def _add(self, event):
        with _told(self._directory):
            self._writer.add_event(event)


def _cut(path, length):
    """Makes a file at most so long; one of which nothing is left goes."""
    if not length:
        path.unlink()
    elif path.stat().st_size > length:
        os.truncate(path, length)


def _png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def save_picture(path, picture):
    """Writes uint8 [H, W, 3] as a PNG file, whole or not at all; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(_png(picture))
    os.replace(temporary, path)


class Progress:
    """Step / total, images a second, time left and the share of time spent waiting for data.

    A terminal gets a bar; anything else gets a line now and then.

    Args:
      name: the stage.
      step: where it starts.
      images_per_step: for the rate.
      every_seconds: time between two lines of a log file.
    """

    def __init__(self, name, step, images_per_step, every_seconds):
        self._name, self._images, self._every = name, images_per_step, every_seconds
        self._first, self._waited, self._paused = step, 0.0, 0.0
        self._begin, self._spoken = None, time.monotonic()
        self._bar = tqdm(desc=name, initial=step, unit="step", dynamic_ncols=True, leave=False) if sys.stderr.isatty() else None

    def update(self, step, total, waited, figures):
        """After a step: seconds waited for its batch, and figures to show."""
        now = time.monotonic()
        if self._begin is None:  # the clock starts after the first step, which compiles
            self._first, self._begin = step, now
            return
        self._waited += waited
        elapsed = max(now - self._begin - self._paused, 1e-9)
        done = step - self._first
        rate = done / elapsed
        extra = f"{rate * self._images:.0f} images/s, data wait {100 * self._waited / elapsed:.0f} %"
        if self._bar is not None:
            self._bar.total = total
            self._bar.set_postfix_str(extra, refresh=False)
            self._bar.update(step - self._bar.n)
        elif now - self._spoken >= self._every or step == total:
            self._spoken = now
            left = _clock((total - step) / rate) if rate else "?"
            terms = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            say(f"{self._name}: step {step}/{total}, {extra}, {left} left, {terms}")

    def pause(self, seconds):
        """Leaves time that was not spent on steps (evaluation, clustering) out of the rate."""
        if self._begin is not None:
            self._paused += seconds

    def close(self):
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()


class Counter:
    """A bar for work that is not training, on a terminal; a log file gets a line when it begins and one when it ends.

    Args:
      name: of the work.
    """

    def __init__(self, name):
        self._name, self._begin, self._total, self._bar = name, time.monotonic(), 0, None

    def update(self, done, total):
        """So many of so many are done."""
        if self._bar is None:
            self._bar = tqdm(desc=self._name, dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty())
            if self._bar.disable:
                say(f"{self._name}: {total} to do")
        self._bar.total = self._total = total
        self._bar.update(done - self._bar.n)

    def close(self):
        """Removes the bar and says how long it took."""
        if self._bar is not None:
            self._bar.close()
            say(f"{self._name}: {self._total} in {time.monotonic() - self._begin:.1f} s")


def _clock(seconds):
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def write_json(path, content):
    """Writes a JSON file whole or not at all: to a neighbour first, then renamed over `path`."""
    _replace(path, (json.dumps(content, indent=2) + "\n").encode())


def _replace(path, content):
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
