"""What a run says: metrics.jsonl, TensorBoard events, and a bar on a terminal or plain lines in a log file."""

import io
import json
import math
import os
import sys
import time

from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tqdm import tqdm


def say(text=""):
    """One line to the terminal, above a progress bar if there is one."""
    tqdm.write(str(text), file=sys.stdout)
    sys.stdout.flush()


class MetricsFile:
    """`metrics.jsonl`: one object a line, {"step", "kind", figures...}; no times in it, so that an interrupted run writes the same file.

    A checkpoint remembers how long the file was; resuming cuts what came after, because those steps will be run, and written, again.
    """

    def __init__(self, path, length):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")
        self._file.truncate(length)
        self._file.seek(length)

    def write(self, step, kind, figures):
        """Appends one line. kind: "train", "refresh" or "evaluation"."""
        self._file.write((json.dumps({"step": step, "kind": kind, **figures}) + "\n").encode())
        self._file.flush()

    def length(self):
        """Bytes written so far."""
        return self._file.tell()

    def close(self):
        """Releases the file."""
        self._file.close()


class TensorBoard:
    """Scalars as TensorBoard events, written by the tensorboard package alone: TensorFlow need not be there."""

    def __init__(self, directory, restart_step=None):
        self._writer = EventFileWriter(str(directory))
        if restart_step is not None:  # TensorBoard then forgets the events of steps that will be written again
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=restart_step, session_log=session))

    def scalars(self, step, prefix, figures):
        """Writes every plain number among `figures` as "prefix/name"."""
        values = [
            summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)
            for name, value in figures.items()
            if isinstance(value, (int, float))
        ]
        self._add(step, values)

    def picture(self, step, name, picture):
        """Writes uint8 [H, W, 3] as an image."""
        height, width, _ = picture.shape
        image = summary_pb2.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=_png(picture))
        self._add(step, [summary_pb2.Summary.Value(tag=f"pictures/{name}", image=image)])

    def _add(self, step, values):
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)))

    def close(self):
        """Flushes and releases the file."""
        self._writer.close()


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
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
