"""Ctrl-C and SIGTERM: at once while nothing has to be saved, a flag that is read between two steps
while something has.
"""

import contextlib
import os
import signal
import threading

from dajax import process_watch
from dajax.errors import StopRequested

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# the StopFlags that now take signals; a list, since a change of it is one operation
_listening = []


def _alone(number):
    return number


class StopFlag:
    """Turns SIGTERM and Ctrl-C into a flag that the loop reads between steps; a second Ctrl-C
    interrupts at once.

    Several processes of a run stop at the same step: each calls the same checks in the same order,
    and `agree` tells whether any of them has got a signal.

    Args:
      agree: this process's signal or 0 -> that of any process or 0, see processes.agreed.
      agree_later: the same, which may answer a few calls later and does not wait, see
        processes.Agreement.
    """

    def __init__(self, agree=_alone, agree_later=_alone):
        self.signal, self.is_idle = None, False
        self._agree, self._agree_later = agree, agree_later

    @property
    def is_asked(self):
        """Whether this process has got a signal."""
        return self.signal is not None

    def check(self):
        """Raises StopRequested when a signal has come, to whichever process."""
        self._raise(self._agree(self.signal or 0))

    def check_between_steps(self):
        """The same, without waiting for what the devices are at."""
        self._raise(self._agree_later(self.signal or 0))

    def _raise(self, number):
        if number:
            raise StopRequested(number)

    def _handle(self, number, _):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def idle(self):
        """From now on nothing is unsaved: a signal need not wait for what is under way, such as a
        compilation of minutes.

        Raises:
          StopRequested: a signal has come already.
        """
        self.is_idle = True
        self.check()

    def busy(self):
        """From now on something is unsaved."""
        self.is_idle = False

    @contextlib.contextmanager
    def listening(self):
        """Installs the handlers; the previous ones return at the end."""
        _listening.append(self)
        previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            # else the process is on its way out, and says more than `_end` would
            if self.signal is None:
                _listening.remove(self)


def end_at_once():
    """From now on a signal ends the process with one line and exit status 128 + signal, but for the
    time in which a StopFlag listens and is not idle.

    Python runs its handlers between two of its instructions, and a compilation or an import of a
    large library is a single one for a minute; so a thread waits for the byte that the interpreter
    writes the moment a signal arrives. Nothing is lost: files are written under other names and
    renamed, and a checkpoint that is not finished is swept away at the next start.
    """
    received, sent = os.pipe()
    os.set_blocking(sent, False)
    for number in SIGNALS:
        signal.signal(number, lambda number, _: _end(number))
    signal.set_wakeup_fd(sent, warn_on_full_buffer=False)

    def watch():
        while True:
            for number in os.read(received, 1):
                if number in SIGNALS and all(flag.is_idle for flag in _listening):
                    _end(number)

    threading.Thread(target=watch, name="signals", daemon=True).start()


_ending = threading.Lock()


def _end(number):
    # the other thread is at it, or the handler has interrupted itself
    if not _ending.acquire(blocking=False):
        return
    line = (
        f"stopped by {signal.Signals(number).name}, with nothing unsaved; to continue, run the same"
        " command again\n"
    )
    process_watch.tell(line.strip(), 128 + number)
    with contextlib.suppress(OSError):  # standard output may be closed
        os.write(1, line.encode())
    os._exit(128 + number)
