"""Where a stage stands: what the loop asks a method between two segments of steps."""

from typing import NamedTuple


class Schedule(NamedTuple):
    """Host-side integers.

    Attributes:
      refresh_at: the step before which `refresh` runs, or None for a method without one.
      last_step: the step after which the stage ends; an estimate while refreshes can still change
        it.
      finished: no step is left to do.
    """

    refresh_at: int | None
    last_step: int
    finished: bool


def fixed_length(step, steps):
    """The schedule of a method that simply runs for `steps` steps."""
    return Schedule(refresh_at=None, last_step=steps, finished=step >= steps)
