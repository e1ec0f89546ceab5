"""Recipes on a command line: reading one anywhere, varying its argument, and its mistakes as one line."""

import re

from absl import flags
from ml_collections import config_flags

from dajax.errors import UserError

_OVERRIDE = re.compile(r"--?(no)?config\.")
MISTAKES = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)  # what absl and ml_collections raise for a wrong command line


def read(recipe, overrides):
    """The ConfigDict that `run.py --config=RECIPE OVERRIDES...` would run.

    Args:
      recipe: "configs/NAME.py[:variant][,key=value...]".
      overrides: words "--config.key=value".

    Raises:
      UserError: in one line, what is wrong with them.
    """
    argv, values = ["run.py", f"--config={recipe}", *overrides], flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=values, sys_argv=argv)
    try:
        values(argv)
        _ = values.config.stages  # a config file that could not be read complains at the first use
    except MISTAKES as error:
        raise UserError(f"--config={recipe}: {one_line(error)}") from error
    return values.config


def one_line(error):
    """The message of an error; of those that config_flags wraps with their stack trace, the message of the innermost one."""
    prefix = "unknown key: " if isinstance(error, (KeyError, AttributeError)) else ""
    text = error.args[0] if error.args else error
    text = str(text.args[0] if isinstance(text, KeyError) else text)  # str of a KeyError is quoted; ml_collections nests them
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return prefix + " ".join(text.split())


def overrides_in(words):
    """Those words of a command line that override single settings, as they stand there: "--config.a=1", or "--config.a" "1"."""
    found = []
    for before, word in zip(["", *words], words):
        is_value = _OVERRIDE.match(before) and "=" not in before and not re.match("--?[a-zA-Z]", word)
        if _OVERRIDE.match(word) or is_value:
            found.append(word)
    return found


def with_argument(recipe, items):
    """The recipe with more in its argument: "key=value,..." is appended; a first item without "=" replaces the variant."""
    path, _, argument = recipe.partition(":")
    old, new = (list(filter(None, text.split(","))) for text in (argument, items))
    if new and "=" not in new[0] and old and "=" not in old[0]:
        old.pop(0)
    variant = [new.pop(0)] if new and "=" not in new[0] else []
    return f"{path}:{','.join(variant + old + new)}"
