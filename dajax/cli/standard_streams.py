"""Standard output and error of a process that was started without them (`>&-`, some schedulers)."""

import os
import sys

_MODES = ("r", "w", "w")


def open_closed():
    """Opens what is closed of descriptors 0, 1 and 2 on the null device, and Python's streams on
    them.

    Must come before anything opens a file: the system gives the lowest free number, so what is
    written to standard output would land in a checkpoint.
    """
    for number, (name, mode) in enumerate(zip(("stdin", "stdout", "stderr"), _MODES, strict=True)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes that very number, the lowest one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))
