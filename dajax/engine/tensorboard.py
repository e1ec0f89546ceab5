"""A run's figures and pictures for TensorBoard."""

import os
import struct
import time

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dajax import console
from dajax.engine import png_files, storage

_FILES = "events.out.tfevents.*"


class TensorBoard:
    """Scalars as TensorBoard events, written by the tensorboard package alone: TensorFlow need not
    be there.

    A checkpoint remembers how long each file was; resuming cuts what came after, as in
    `log.MetricsFile`. TensorBoard itself forgets by step, which leaves what a stage writes at the
    very step of a checkpoint but after it (a refresh, an evaluation) there twice.

    Args:
      directory: of the event files.
      restart_step: the first step that will be written.
      lengths: {file name: bytes} that the checkpoint remembers; None when it is of a version that
        did not.

    Raises:
      UserError: it cannot be written to.
    """

    def __init__(self, directory, restart_step, lengths):
        self._directory = directory
        before = self._files()
        with storage.told(directory):
            if lengths is not None:
                self._go_back_to(lengths, before)
            self._writer = EventFileWriter(str(directory))
        if before:  # a TensorBoard that is looking on forgets the steps that will be written again
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(
                event_pb2.Event(wall_time=time.time(), step=restart_step, session_log=session)
            )

    def _go_back_to(self, lengths, before):
        """Cuts what came after the checkpoint; says where less is left than it remembers."""
        found = {path.name: path.stat().st_size for path in before}
        for path in before:
            _cut(path, lengths.get(path.name, 0))
        if short := sorted(name for name, length in lengths.items() if found.get(name, 0) < length):
            console.say(
                f"{self._directory}: of {', '.join(short)} less is left than the checkpoint"
                " remembers; TensorBoard lacks those steps, metrics.jsonl is the record"
            )

    def scalars(self, step, prefix, figures):
        """Writes numbers, {name: number}, as "prefix/name"."""
        values = [
            summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)
            for name, value in figures.items()
        ]
        self._summary(step, values)

    def picture(self, step, name, picture):
        """Writes uint8 [H, W, 3] as an image."""
        height, width, _ = picture.shape
        image = summary_pb2.Summary.Image(
            height=height,
            width=width,
            colorspace=3,
            encoded_image_string=png_files.encoded(picture),
        )
        self._summary(step, [summary_pb2.Summary.Value(tag=f"pictures/{name}", image=image)])

    def sync(self):
        """{file name: bytes} of all event files, with everything so far in them."""
        with storage.told(self._directory):
            self._writer.flush()
            return {path.name: path.stat().st_size for path in self._files()}

    def close(self):
        """Flushes and releases the file."""
        with storage.told(self._directory):
            self._writer.close()

    def _files(self):
        return sorted(self._directory.glob(_FILES))

    def _summary(self, step, values):
        self._add(
            event_pb2.Event(
                wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)
            )
        )

    def _add(self, event):
        with storage.told(self._directory):
            self._writer.add_event(event)


def read_scalars(directory, prefix):
    """{name: [numbers in the order of writing]} of a stage's event files under "prefix/name", as
    TensorBoard.scalars writes them. What a killed run has left unfinished is skipped.

    Read here, since tensorboard's own reader loads TensorFlow where that is installed.
    """
    found = {}
    for path in sorted(directory.glob(_FILES)):
        content, begin = path.read_bytes(), 0
        # a record: its length, 4 bytes of a checksum, itself, 4 bytes of another
        while begin + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, begin)
            record = content[begin + 12 : begin + 12 + length]
            begin += length + 16
            if begin > len(content):
                break
            summary = event_pb2.Event.FromString(record).summary
            for value in summary.value:
                before, _, name = value.tag.partition("/")
                if before == prefix:
                    found.setdefault(name, []).append(value.simple_value)
    return found


def _cut(path, length):
    """Makes a file at most so long; one of which nothing is left goes."""
    if not length:
        path.unlink()
    elif path.stat().st_size > length:
        os.truncate(path, length)
