"""The one error that bad data raises, and how names of files are shown in it."""

import re

# What repr makes of a byte that is no UTF-8, as `{name!r}` writes it into a message.
_REPR_OF_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


class DataError(ValueError):
    """One printable line that names the file or key, what was found, what was expected and what to
    do.
    """

    def __init__(self, message: str):
        super().__init__(_REPR_OF_BYTE.sub(r"\\x\1", printable(message)))


def printable(text: str) -> str:
    """The text with everything escaped that is no printable character.

    A file name is bytes: it may hold line ends, codes that drive a terminal, and bytes that are no
    UTF-8, which Python keeps as lone surrogates and which no terminal and no JSON or protobuf
    takes. They are shown as `\\xe9`, the rest as in Python's string literals.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter) -> str:
    if "\udc80" <= letter <= "\udcff":  # how os.fsdecode keeps the bytes 0x80..0xff (PEP 383)
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
