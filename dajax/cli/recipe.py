"""Recipes on a command line: reading one anywhere, varying its argument, and its mistakes as one
line.
"""

import itertools
import pathlib
import re

from absl import flags
from ml_collections import config_flags

from dajax import recipes
from dajax.errors import UserError
from dajax.recipes.base.arguments import WORDS

TABLES = "tables/"  # begins the name of a published table's recipe
_OVERRIDE = re.compile(r"--?(no)?config\.")
# what absl and ml_collections raise for a wrong command line
MISTAKES = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)


def read(recipe, overrides):
    """The ConfigDict that `run.py --config=RECIPE OVERRIDES...` would run.

    Args:
      recipe: "NAME or configs/NAME.py[:variant][,key=value...]".
      overrides: words "--config.key=value".

    Raises:
      UserError: in one line, what is wrong with them.
    """
    argv, values = ["run.py", *with_paths([f"--config={recipe}"]), *overrides], flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "", lock_config=True, flag_values=values, sys_argv=argv
    )
    try:
        values(argv)
        # a config file that could not be read complains at the first use; a table has no stages
        getattr(values.config, "stages", None)
    except MISTAKES as error:
        raise UserError(f"--config={recipe}: {one_line(error)}") from error
    return values.config


def one_line(error):
    """The message of an error; of those that config_flags wraps with their stack trace, the message
    of the innermost one.
    """
    prefix = "unknown key: " if isinstance(error, (KeyError, AttributeError)) else ""
    text = error.args[0] if error.args else error
    # str of a KeyError is quoted; ml_collections nests them
    text = str(text.args[0] if isinstance(text, KeyError) else text)
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return prefix + " ".join(text.split())


def overrides_in(words):
    """Those words of a command line that override single settings, as they stand there:
    "--config.a=1", or "--config.a" "1".
    """
    found = []
    for before, word in itertools.pairwise(["", *words]):
        is_value = (
            _OVERRIDE.match(before) and "=" not in before and not re.match("--?[a-zA-Z]", word)
        )
        if _OVERRIDE.match(word) or is_value:
            found.append(word)
    return found


def with_argument(recipe, items):
    """The recipe with more in its argument: "word,key=value,..." is appended; a variant before it
    replaces the recipe's.
    """
    path, _, argument = recipe.partition(":")
    old, new = (list(filter(None, text.split(","))) for text in (argument, items))
    named = [list(filter(_is_variant, part)) for part in (old, new)]
    rest = [item for item in old + new if not _is_variant(item)]
    return f"{path}:{','.join((named[1] or named[0]) + rest)}"


def _is_variant(item):
    return "=" not in item and item not in WORDS


def with_paths(words):
    """Words of a command line, with the file of a recipe in place of its name:
    "--config=can:digits".

    Raises:
      UserError: a name that is neither a recipe's nor a file's.
    """
    words = list(words)
    for i, word in enumerate(words):
        if re.fullmatch("--?config", word) and i + 1 < len(words):
            words[i + 1] = _with_path(words[i + 1])
        elif found := re.match("(--?config=)(.*)", word, re.DOTALL):
            words[i] = found[1] + _with_path(found[2])
    return words


def _with_path(recipe):
    name, colon, argument = recipe.partition(":")
    path = pathlib.Path(name)
    is_table = name.startswith(TABLES) and len(path.parts) == 2
    if path.suffix or not (len(path.parts) == 1 or is_table) or path.exists():
        return recipe
    known = {
        f"{prefix}{path.stem}": path
        for prefix in ("", TABLES)
        for folder in recipes.__path__
        for path in sorted(pathlib.Path(folder, prefix).glob("*.py"))
        if not path.stem.startswith("_") and path.stem != "published"
    }
    if name not in known:
        raise UserError(f"--config={name}: no such recipe or file; recipes: {', '.join(known)}")
    return f"{known[name]}{colon}{argument}"


def lines_of(config):
    """A line `config.key = value` for every setting, in the order of the recipe."""
    lines = []

    def add(prefix, tree):
        for key, value in tree.items():
            if hasattr(value, "items"):
                add(f"{prefix}.{key}", value)
            else:
                lines.append(f"{prefix}.{key} = {value!r}")

    add("config", config)
    return lines
