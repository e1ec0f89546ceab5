"""What a person sees of a run: lines, and a bar on a terminal or plain lines in a log file."""

import contextlib
import math
import os
import signal
import sys
import textwrap
import time

from tqdm import tqdm

from dajax.errors import StopRequested

_is_silent = False


def be_silent():
    """From now on nothing here speaks: of several processes of a run the first one does."""
    global _is_silent
    _is_silent = True


def say(text=""):
    """One line to the terminal, above a progress bar if there is one.

    Raises:
      StopRequested: nobody reads standard output any more (`| head`), or the disk of a log file is
        full; the run then stops as it does for a signal, with everything saved.
    """
    if _is_silent:
        return
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


WIDTH = 120  # columns of a long list or sentence


def say_list(begin, items):
    """`begin` and the items with commas between them, in lines of WIDTH columns; an item is not
    broken, and lines after the first are indented.
    """
    # textwrap breaks lines at spaces, but not at those that typesetters call fixed
    text = begin + ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in items)
    say(_wrapped(text).replace("\N{NO-BREAK SPACE}", " "))


def say_wrapped(text):
    """Sentences in lines of WIDTH columns; lines after the first are indented."""
    say(_wrapped(text))


def _wrapped(text):
    return textwrap.fill(
        text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


@contextlib.contextmanager
def timed(what):
    """Says `what` when the enclosed work begins, and how long it took when it has ended: on a
    terminal in the same line.
    """
    begin, is_terminal = time.monotonic(), sys.stdout.isatty()
    say(f"{what} ...")
    yield
    before = "\033[F" if is_terminal else ""  # to the beginning of the line above
    say(f"{before}{what} ... ({time.monotonic() - begin:.1f} s)")


class Progress:
    """Step / total, the loss, images a second, time left and the share of time spent waiting for
    data.

    A terminal gets a bar; anything else gets a line now and then, which has all figures.

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
        self._last, self._taken = (step, 0.0, 0.0), None
        self._bar = (
            tqdm(desc=name, initial=step, unit="step", dynamic_ncols=True, leave=False)
            if _has_bar()
            else None
        )

    def update(self, step, total, waited, figures):
        """After a step: seconds waited for its batch, and figures to show."""
        now = time.monotonic()
        if self._begin is None:  # the clock starts after the first step, which compiles
            self._first, self._begin, self._last = step, now, (step, 0.0, 0.0)
            return
        self._waited += waited
        elapsed = max(now - self._begin - self._paused, 1e-9)
        done = step - self._first
        self._last = (step, elapsed, self._waited)
        rate = done / elapsed
        extra = (
            f"{rate * self._images:.0f} images/s, data wait {100 * self._waited / elapsed:.0f} %"
        )
        if self._bar is not None:
            self._bar.total = total
            loss = f"loss {figures['loss']:.4g}, " if "loss" in figures else ""
            self._bar.set_postfix_str(loss + extra, refresh=False)
            self._bar.update(step - self._bar.n)
        elif now - self._spoken >= self._every or step == total:
            self._spoken = now
            left = _clock((total - step) / rate) if rate else "?"
            terms = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            say(f"{self._name}: step {step}/{total}, {extra}, {left} left, {terms}")

    def throughput(self):
        """{name: figure} of the steps since the last call, {} where there are none."""
        before, self._taken = self._taken or (self._first, 0.0, 0.0), self._last
        steps, seconds, waited = (b - a for a, b in zip(before, self._last, strict=True))
        if steps <= 0 or seconds <= 0:
            return {}
        return {
            "images_per_second": steps * self._images / seconds,
            "data_wait_percent": 100 * waited / seconds,
        }

    def pause(self, seconds):
        """Leaves time that was not spent on steps (evaluation, clustering) out of the rate."""
        if self._begin is not None:
            self._paused += seconds

    def close(self):
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()


class Counter:
    """A bar for work that is not training, on a terminal; a log file gets a line when it begins and
    one when it ends.

    Args:
      name: of the work.
    """

    def __init__(self, name):
        self._name, self._begin, self._total, self._bar = name, time.monotonic(), 0, None

    def update(self, done, total):
        """So many of so many are done."""
        if self._bar is None:
            self._bar = tqdm(
                desc=self._name, dynamic_ncols=True, leave=False, disable=not _has_bar()
            )
            if self._bar.disable:
                say(f"{self._name}: {total} to do")
        self._bar.total = self._total = total
        self._bar.update(done - self._bar.n)

    def close(self):
        """Removes the bar and says how long it took."""
        if self._bar is not None:
            self._bar.close()
            say(f"{self._name}: {self._total} in {time.monotonic() - self._begin:.1f} s")


def _has_bar():
    return sys.stderr.isatty() and not _is_silent


def _clock(seconds):
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
