"""`config.runtime.profile`: a trace of a few steps by jax.profiler, which shows where time goes."""

import jax

from dajax import console
from dajax.engine.config_ranges import steps_to_trace


class Profile:
    """The trace of one stage; nothing where none is asked for.

    Args:
      name: of the stage.
      text: config.runtime.profile.
      directory: where the trace goes, the stage's folder "profile".
      step: where the stage stands.
    """

    def __init__(self, name, text, directory, step):
        self._name, self._steps, self._directory = name, steps_to_trace(text), directory
        self._is_tracing, self._last = False, None
        if self._steps is not None and step >= self._steps[0]:
            console.say(f"{name}: stands at step {step}, so that steps {text} are not traced")
            self._steps = None

    def before(self, step):
        """Before the batch of a step is asked for: the first step begins the trace."""
        if self._steps is not None and step == self._steps[0]:
            self._last = step
            jax.profiler.start_trace(self._directory)
            self._is_tracing = True

    def after(self, step, result):
        """After a step: the last one ends the trace, once its `result`, any tree of arrays, is
        there.
        """
        self._last = step
        if self._is_tracing and step == self._steps[1]:
            jax.block_until_ready(result)
            self.close()

    def close(self):
        """Ends a trace that is under way, and says where it is, or that there was none."""
        if self._steps is None or self._last is None:
            return
        (first, last), self._steps = self._steps, None
        if self._is_tracing:
            self._is_tracing = False
            jax.profiler.stop_trace()
            last = min(last, self._last)
            console.say(f"{self._name}: a trace of steps {first} to {last} is in {self._directory}")
        else:
            console.say(f"{self._name}: ends at step {self._last}, so that there is no trace")
