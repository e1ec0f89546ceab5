"""Ctrl-C and SIGTERM as a flag, so that a run stops between two steps, with everything saved."""

import contextlib
import signal

from dajax.errors import StopRequested


class StopFlag:
    """Turns SIGTERM and Ctrl-C into a flag that the loop reads between steps; a second Ctrl-C interrupts at once."""

    def __init__(self):
        self.signal = None

    def check(self):
        """Raises StopRequested when a signal has come."""
        if self.signal is not None:
            raise StopRequested(self.signal)

    def _handle(self, number, _):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    @contextlib.contextmanager
    def listening(self):
        """Installs the handlers; the previous ones return at the end."""
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
