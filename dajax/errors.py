"""Exceptions that the command line shows to a person as one line, without a stack trace."""


class UserError(Exception):
    """A mistake that the user can mend: names the file or key, what was found, what was expected,
    what to do.
    """


class StopRequested(Exception):
    """Raised between two batches when Ctrl-C or SIGTERM has asked the run to stop; `signal` is its
    number.
    """

    def __init__(self, number):
        super().__init__(f"stopped by signal {number}")
        self.signal = number
