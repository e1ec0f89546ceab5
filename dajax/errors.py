"""The exceptions that run.py shows to a person as a single line, without a stack trace, and how
such a line is made.
"""

# Characters of a line. Messages with two paths and a remedy take about 400; a path alone may have
# 4096.
LONGEST_LINE = 1500
_CUT = " [...] "


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


def printable(text, longest=LONGEST_LINE):
    """`text` as one line that any terminal shows as it is.

    Args:
      text: anything; str() is taken.
      longest: characters; of a longer text the middle goes, since what is wrong stands at its
        beginning and what to do at its end.

    Returns:
      str: line ends, escape codes, characters that turn the direction of text, and bytes of a file
      name that are no UTF-8 are shown escaped, as Python writes them in a literal.
    """
    text = str(text).strip()
    if len(text) > longest:
        head = (longest - len(_CUT)) * 2 // 3
        text = text[:head] + _CUT + text[len(text) - (longest - len(_CUT) - head) :]
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


def _escaped(character):
    # how Python carries a byte of a file name that is no UTF-8
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
