"""Mistakes in a part of a config, said with the whole key.

A method sees its own part of a config and does not know what that part is called. What cannot be
meant there is a SettingError, which names the key below the part; who knows the part's name adds it
with `part_of_config`. So the user reads

    config.spcl.target_mask='online2': unknown; known: files, online
"""

import contextlib

from dajax.errors import UserError

WHOLE = "config."  # a key that begins so is complete


def starts_of(init_from):
    """The stages that a stage's init_from names: none for "", one for a name, several for a tuple
    of names, whose networks are averaged.
    """
    if isinstance(init_from, str):
        return (init_from,) if init_from else ()
    return tuple(init_from)


class SettingError(UserError):
    """A value of a config that cannot be meant.

    Args:
      key: below the part of the config that was looked at, "optimizer.kind"; or a whole one,
        "config.model.heads".
      value: found there.
      problem: what was expected, and what to do.
    """

    def __init__(self, key, value, problem):
        super().__init__(f"{key}={value!r}: {problem}")
        self.key, self.value, self.problem = key, value, problem


@contextlib.contextmanager
def part_of_config(name):
    """Puts the name of a part, "optimizer" or "config.spcl", before the key of a SettingError from
    within.
    """
    try:
        yield
    except SettingError as error:
        if error.key.startswith(WHOLE):
            raise
        raise SettingError(f"{name}.{error.key}", error.value, error.problem) from error


def choice(config, key, known):
    """The word of a config at `key`, which must be one of those known.

    Args:
      config: ConfigDict, a stage's or another part of a run's.
      key: below it, "loss.kind".
      known: words; or {word: the keys beside `key` that this word needs}, such as {"focal":
        ("gamma",)}.

    Raises:
      SettingError: an unknown word, or a key that it needs is not in the config.
    """
    *groups, last = key.split(".")
    for group in groups:
        config = config[group]
    value = config[last]
    if value not in tuple(known):
        words = ", ".join(word or "''" for word in known)
        raise SettingError(key, value, f"unknown; known: {words}")
    needed = known[value] if isinstance(known, dict) else ()
    lacking = [name for name in needed if name not in config]
    if lacking:
        fitting = [word for word in known if all(name in config for name in known[word])]
        raise SettingError(
            key,
            value,
            f"needs {', '.join(lacking)} beside it, which this recipe does not set; add"
            f" {'it' if len(lacking) == 1 else 'them'} to the recipe, or choose among"
            f" {', '.join(fitting)}",
        )
    return value


def check_classes(config, key, num_classes):
    """Refuses numbers of classes that there are not.

    Args:
      config: as of `choice`; at `key` it has train ids, or nothing at all.
      num_classes: K of the run.

    Raises:
      SettingError: naming those that are not from 0 to K - 1.
    """
    unknown = [number for number in config.get(key, ()) if not 0 <= number < num_classes]
    if unknown:
        raise SettingError(
            key,
            tuple(config[key]),
            f"{', '.join(map(str, unknown))}: no such class; expected numbers from 0 to"
            f" {num_classes - 1}, which are those of classes.csv in the workdir",
        )


def check_unread(config, key, known, neutral):
    """Refuses a setting that does something, but that the word at `key` does not read.

    Args:
      config: as of `choice`, whose `known` is {word: the keys that it needs}.
      key: of the word.
      neutral: {key to look at: the value that does nothing}; keys that are not there are fine.

    Raises:
      SettingError: such a setting, with the words that read it.
    """
    word = config[key]
    for name, nothing in neutral.items():
        if name in known[word] or name not in config:
            continue
        value = config[name]
        if (tuple(value) if isinstance(value, list) else value) == nothing:
            continue
        readers = " and ".join(f"'{other}'" for other in known if name in known[other])
        raise SettingError(
            name,
            value,
            f"{key}='{word}' does not read it, {readers} does; set it to {nothing}, or leave it out"
            " of the recipe",
        )
