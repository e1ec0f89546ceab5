"""The figures of a stage, on their way from the device to its files."""

import math

import numpy as np

from dajax.engine import log, png_files, tensorboard
from dajax.errors import UserError
from dajax.ops.confusion_picture import confusion_picture
from dajax.ops.legend import legend


class Recorder:
    """Metrics on their way from the device to the files: read late, so that the device never waits,
    but always before a checkpoint.

    Args:
      stage: train.Stage.
      step: the step that training goes on from.
      meta: the last checkpoint's "metrics_bytes" and "event_bytes", the lengths that files are cut
        to.
    """

    def __init__(self, stage, step, meta):
        self.file = log.MetricsFile(stage.directory / "metrics.jsonl", meta["metrics_bytes"])
        self.board = tensorboard.TensorBoard(
            stage.directory, restart_step=step + 1, lengths=meta["event_bytes"]
        )
        self._boards = [self.board, *stage.trackers]
        self._stage, self._pending, self.latest = stage, [], {}

    def add(self, step, metrics):
        self._pending.append((step, metrics))
        if len(self._pending) >= self._stage.config.runtime.log_every:
            self.drain()

    def drain(self):
        """Writes what is pending.

        Raises:
          UserError: naming the first step whose figures are not finite.
        """
        pending, self._pending = self._pending, []
        for step, metrics in pending:
            self.latest = {name: float(value) for name, value in metrics.items()}
            if not all(math.isfinite(value) for value in self.latest.values()):
                terms = ", ".join(f"{name} {value:.6g}" for name, value in self.latest.items())
                raise UserError(not_finite(self._stage, f"step {step} is not finite ({terms})"))
            if step % self._stage.config.runtime.log_every == 0:
                self.write(step, "train", self.latest)

    def write(self, step, kind, figures):
        """One line of metrics.jsonl, and its numbers on every board."""
        self.file.write(step, kind, figures)
        self.show(step, kind, figures)

    def show(self, step, kind, figures):
        """Numbers on every board alone: times do not belong into metrics.jsonl, which would differ
        from run to run.
        """
        for board in self._boards:
            board.scalars(step, kind, dict(_numbers(figures)))

    def evaluation(self, step, evaluation):
        """All of a tasks.common.Evaluation: its figures; on the boards its confusion matrix and its
        pictures, with a legend; and the pictures as PNG files, of the newest evaluation alone.
        """
        report, task, data = evaluation.report, self._stage.task, self._stage.data
        if report is not None:
            figures = {key: value for key, value in report.items() if key != "confusion"}
            self.write(step, "evaluation", figures)
        if report is not None and "confusion" in report:
            counts = np.asarray(report["confusion"], np.int64)
            names = data.sets["source"].class_names
            self._picture(step, "confusion", confusion_picture(counts, names))
        for name, picture in evaluation.pictures.items():
            png_files.write(self._stage.directory / "pictures" / f"{name}.png", picture)
            below = legend(picture.shape[1], task.legend_of_pictures(data))
            self._picture(step, name, np.concatenate([picture, below]))

    def _picture(self, step, name, picture):
        for board in self._boards:
            board.picture(step, name, picture)

    def lengths(self):
        """What a checkpoint must know to go back to here: how long the files are, with everything
        so far on disk.
        """
        return {"metrics_bytes": self.file.sync(), "event_bytes": self.board.sync()}

    def close(self):
        self.file.close()
        self.board.close()


class FollowingRecorder(Recorder):
    """Of the processes that do not write: their figures are those of the first one, and are looked
    at for what ends the run.
    """

    def __init__(self, stage):
        self._stage, self._pending, self.latest = stage, [], {}

    def write(self, step, kind, figures):
        """Writes nothing."""

    def show(self, step, kind, figures):
        """Shows nothing."""

    def evaluation(self, step, evaluation):
        """Shows nothing."""

    def lengths(self):
        """There are no files."""
        return {}

    def close(self):
        """There is nothing to close."""


def _numbers(figures, before=""):
    """(name, number) of every plain number, of those in dicts as "iou/road"."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{before}{name}/")
        elif isinstance(value, (int, float)):
            yield before + name, value


def not_finite(stage, what):
    """The message of a run that stops at a number which is none, with the remedy."""
    remedy = f"Lower --config.{stage.name}.optimizer.lr or look at the data of that step"
    return f"{stage.name}: {what}; stopped before it reached a checkpoint. {remedy}"
