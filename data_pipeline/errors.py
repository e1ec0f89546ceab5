"""The one error that bad data raises."""


class DataError(ValueError):
    """One line that names the file or key, what was found, what was expected and what to do."""
