"""The figures of a stage, on their way from the device to its files."""

import math

from dajax.engine import log, tensorboard
from dajax.errors import UserError


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
        self.file.write(step, kind, figures)
        self.board.scalars(step, kind, figures)

    def pictures(self, step, pictures):
        """PNG files of the newest evaluation, and TensorBoard images of all."""
        for name, picture in pictures.items():
            tensorboard.save_picture(self._stage.directory / "pictures" / f"{name}.png", picture)
            self.board.picture(step, name, picture)

    def lengths(self):
        """What a checkpoint must know to go back to here: how long the files are, with everything
        so far on disk.
        """
        return {"metrics_bytes": self.file.sync(), "event_bytes": self.board.sync()}

    def close(self):
        self.file.close()
        self.board.close()


def not_finite(stage, what):
    """The message of a run that stops at a number which is none, with the remedy."""
    remedy = f"Lower --config.{stage.name}.optimizer.lr or look at the data of that step"
    return f"{stage.name}: {what}; stopped before it reached a checkpoint. {remedy}"
