"""`--tasks`: the columns of a sweep. Each is arguments of the recipe, single settings, or both."""

import dataclasses
import pathlib
import re
import zlib

from dajax.errors import UserError
from dajax.recipes.base.arguments import WORDS

_LONGEST_NAME = 100  # of a folder; file systems allow 255 bytes
_EXPECTED = "expected [variant,]key=value,config.key=value,... and ';' between tasks"
_SETTING = re.compile(r"(?:--?)?config\.([\w.]+)=(.*)", re.DOTALL)
_BEGINS_SETTING = re.compile(r"\s*(--?)?config\.")
# {what opens a value that may hold commas: what closes it}
_CLOSING = {"(": ")", "[": "]", "{": "}", "'": "'", '"': '"'}
_QUOTES = ("'", '"')


@dataclasses.dataclass(frozen=True)
class Task:
    """One column.

    argument: items for the recipe's argument, "" for none. settings: words "--config.key=value".
    folder: the name of its runs' folders, but for the seed.
    """

    argument: str
    settings: tuple[str, ...]
    folder: str


def parse(text):
    """ "source=a,target=b;config.can.cdd.weight=0.1;..." -> {title of the column: Task}.

    Commas within brackets or quotes belong to the value of a setting.

    Raises:
      UserError: text that is no list of tasks, or the same task twice.
    """
    tasks = [_arguments_and_settings(items) for items in _split(text)]
    titles = _titles(tasks)
    if len(set(titles)) < len(titles):
        titles = [",".join([*items, *_words(settings)]) for items, settings in tasks]
    folders = [
        _folder(" ".join(filter(None, [_title(items, str), *_words(settings)])))
        for items, settings in tasks
    ]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            items, settings = tasks[i]
            named = ",".join([*items, *(f"config.{word}" for word in _words(settings))])
            raise UserError(
                f"--tasks: '{named}' stands there twice (its folder would be {folder}); name each"
                " task once"
            )
    return {
        title: Task(",".join(items), tuple(f"--config.{x}" for x in _words(settings)), folder)
        for title, folder, (items, settings) in zip(titles, folders, tasks, strict=True)
    }


def _split(text):
    """The items of each task, [[str]]. Brackets and quotes count in settings alone: they may be
    part of a folder's name elsewhere.
    """
    tasks, awaited = [[""]], []
    for character in text:
        if awaited and character == awaited[-1]:
            awaited.pop()
        elif awaited and awaited[-1] in _QUOTES:
            pass
        elif character in _CLOSING and _BEGINS_SETTING.match(tasks[-1][-1]):
            awaited.append(_CLOSING[character])
        elif not awaited and character == ";":
            tasks.append([""])
            continue
        elif not awaited and character == ",":
            tasks[-1].append("")
            continue
        tasks[-1][-1] += character
    if awaited:
        raise UserError(
            f"--tasks: '{tasks[-1][-1].strip()}' lacks a closing {awaited[-1]} ; close every"
            " bracket and quote, and put quotes around the whole of --tasks"
        )
    return [[item.strip() for item in task] for task in tasks]


def _arguments_and_settings(items):
    """The items of one task -> ([item of the recipe's argument], {key: value})."""
    task, arguments, settings = ",".join(items), [], {}
    for item in items:
        if not _BEGINS_SETTING.match(item):
            arguments.append(item)
            continue
        setting = _SETTING.fullmatch(item)
        if not setting or not setting[2]:
            raise UserError(f"--tasks: '{item}' sets nothing; expected config.key=value")
        key, value = setting.groups()
        if key == "seed":
            raise UserError(f"--tasks: '{item}': seeds are no tasks; use --seeds=0,1,2")
        if key in settings:
            raise UserError(f"--tasks: '{task}' sets config.{key} twice; leave one of them out")
        settings[key] = value
    if (
        not all(arguments)
        or not all(re.fullmatch(r"[\w-]+=.*", x) or x in WORDS for x in arguments[1:])
        or (arguments and arguments[0].startswith("="))
    ):
        raise UserError(f"--tasks: '{task}' is no task; {_EXPECTED}")
    return arguments, settings


def _words(settings):
    return [f"{key}={value}" for key, value in settings.items()]


def _titles(tasks):
    """A title for each task: its arguments, and those settings that not all tasks have, by the last
    parts of their keys.
    """
    everywhere = set.intersection(*({*settings.items()} for _, settings in tasks))
    for left_out in (everywhere, set()):
        differing = [
            {key: value for key, value in settings.items() if (key, value) not in left_out}
            for _, settings in tasks
        ]
        keys = set().union(*differing)
        titles = [
            " ".join(
                filter(
                    None,
                    [
                        _title(items, lambda value: pathlib.PurePath(value).name or value),
                        *(f"{_short(key, keys)}={value}" for key, value in settings.items()),
                    ],
                )
            )
            for (items, _), settings in zip(tasks, differing, strict=True)
        ]
        if all(titles):
            break
    return titles


def _short(key, keys):
    """The end of "can.cdd.weight", in whole parts, that no other of the keys ends with."""
    parts = key.split(".")
    ends = (".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1))
    return next(
        (x for x in ends if not any(f".{other}".endswith(f".{x}") for other in keys - {key})), key
    )


def _title(items, shorten):
    """["folder", "root=D", "source=a", "target=b"] -> "folder a->b root=D"."""
    values = dict(item.split("=", 1) for item in items if "=" in item)
    words = [item for item in items if "=" not in item]
    if "source" in values and "target" in values:
        words.append(f"{shorten(values.pop('source'))}->{shorten(values.pop('target'))}")
    return " ".join(words + [f"{key}={shorten(value)}" for key, value in values.items()])


def _folder(title):
    name = re.sub(r"[^\w.+=-]+", "-", title.replace("->", "-to-")).strip("-.")
    return (
        name
        if len(name) <= _LONGEST_NAME
        else f"{name[:_LONGEST_NAME]}-{zlib.crc32(title.encode()):08x}"
    )
