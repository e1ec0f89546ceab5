"""The argument of a recipe, and the name that it gives the run.

THE ARGUMENT OF A RECIPE is what follows the colon, in every recipe the same:

  --config=configs/NAME.py:VARIANT,WORD,KEY=VALUE,...      or --config=NAME:...

  VARIANT      the data, and with them the settings: digits, office31, scenes, gta5_to_cityscapes;
               left out, the embedded data: digits or scenes
  ablations    a word alone: also the rows of the method's ablation table

The order of the items does not matter. Keys that many recipes have:

  source       the name of a domain, or of several, "amazon+dslr"; a folder in segmentation's
               variant own, whose further keys are in configs/base/domains.py
  target       the name of the domain to adapt to; in that variant a folder
  root         the folder that holds all domains (classification)
  source_root  the folder of the source (segmentation, whose variant names the domains)
  target_root  the folder of the target (segmentation)
  weights      a file of pretrained weights, or "none" for random ones
  settings     whose numbers, where a method's authors have two: "code" for those of their released
               code, "paper" (in bicl.py "slides") for those that they published
  backbone     the network that `weights` fits

A recipe may have keys of its own, which its docstring explains. Its `VARIANTS` says which keys each
variant uses; any other key is refused in one line. Of a key given twice the last one counts, since
`--tasks` of a sweep appends.

THE NAME OF A RUN names its default workdir. It holds all that changes the network or the data and
is not the default, and never where files lie.
"""

import pathlib
import re

from ml_collections import ConfigDict

EMBEDDED = ("digits", "scenes")  # variants whose data come with the repository
WORDS = ("ablations",)


def parse_arg(arg, variants, *, pretrained=(), renamed=None, **defaults):
    """Reads "variant,word,key=value,..." into ConfigDict(variant=..., word=True, key=...), with a
    value for every key of `defaults`.

    Args:
      arg: what follows the colon of --config, or None.
      variants: {variant: the keys and words that it uses}; the first is the default.
      pretrained: the variants whose settings need pretrained weights: `weights=FILE`, or
        `weights=none` to go without.
      renamed: {a key as it was called once: as it is called now}.
      **defaults: of each key. A tuple holds all values that are known, the first being the default;
        False belongs to one of WORDS; of the others the type is kept. weights=none becomes "".

    Raises:
      ValueError: in one line: an unknown variant, key, word or value, a key that the variant does
        not use, no weights.
    """
    known = [key for key in defaults if any(key in takes for takes in variants.values())]
    values = {
        key: choices[0] if isinstance(choices, tuple) else choices
        for key, choices in defaults.items()
    }
    parsed, given = ConfigDict({"variant": next(iter(variants)), **values}), {}
    items = list(filter(None, (arg or "").split(",")))
    parsed.variant = _variant_among(items, variants, parsed.variant)
    for item in items:
        key, equals, value = item.partition("=")
        if key in known and (key in WORDS) != bool(equals):
            given[key] = value
        elif item not in variants:
            problem = _expected(key, value, known, renamed or {})
            or_variant = "" if equals or key in WORDS else f"; variants: {', '.join(variants)}"
            raise ValueError(f"configuration argument '{item}': {problem}{or_variant}")
    takes = variants[parsed.variant]
    for key, value in given.items():
        if key not in takes:
            item = key if key in WORDS else f"{key}={value}"
            now = (renamed or {}).get(key)
            raise ValueError(
                f"configuration argument '{item}': variant {parsed.variant} does not use"
                f" {key}; it takes {', '.join(takes) or 'none'}"
                + (f": write {now}={value}" if now in takes else "")
            )
        parsed[key] = _value_of(key, value, defaults[key])
    if parsed.variant in pretrained and not parsed.weights:
        raise ValueError(
            f"variant {parsed.variant} trains from pretrained weights: add weights=FILE (the"
            " recipe's docstring says which and where it is to be had), or weights=none to train"
            " from random ones"
        )
    if "weights" in defaults and parsed.weights == "none":
        parsed.weights = ""
    return parsed


def _variant_among(items, variants, default):
    """The one item that names a variant, wherever it stands; `default` where none does.

    Raises:
      ValueError: two of them; or the first item is neither a variant nor a word nor key=value.
    """
    named = list(dict.fromkeys(item for item in items if item in variants))
    if len(named) > 1:
        raise ValueError(
            f"configuration argument '{named[1]}': the variant is {named[0]} already, and a run has"
            " one: leave one of them out"
        )
    if not named and items and "=" not in items[0] and items[0] not in WORDS:
        raise ValueError(f"unknown variant '{items[0]}'; known: {', '.join(variants)}")
    return named[0] if named else default


def _expected(key, value, known, renamed):
    """What stands in place of an item that is no variant, no word and no key of the recipe."""
    if renamed.get(key) in known:
        return f"{key} is now called {renamed[key]}: write {renamed[key]}={value}"
    if key in WORDS and key not in known:
        return f"this recipe has no rows of {key}, whatever the variant: leave it out"
    keys = [name for name in known if name not in WORDS]
    words = [name for name in known if name in WORDS]
    or_word = f", or the word {' or '.join(words)}" if words else ""
    return f"expected key=value with a key among {', '.join(keys) or 'none'}{or_word}"


def _value_of(key, text, default):
    """The value that `text` stands for, of the type of `default`, or one of them where it is a
    tuple; that of a word is True.
    """
    if key in WORDS:
        return True
    if isinstance(default, tuple):
        if text not in default:
            raise ValueError(
                f"configuration argument '{key}={text}': known: {', '.join(filter(None, default))}"
            )
        return text
    try:
        return type(default)(text)
    except ValueError:
        expected = f"expected a value of type {type(default).__name__}"
        raise ValueError(f"configuration argument '{key}={text}': {expected}") from None


def run_name(recipe, arg, *parts):
    """The run's name, which can be a folder's: recipe, ablations, variant, and the parts that are
    not empty. With ablations the embedded data go without saying: "can-ablations".
    """
    variant = "" if arg.ablations and arg.variant in EMBEDDED else arg.variant
    ablations = "ablations" if arg.ablations else ""
    return re.sub(r"[/:\\\s]", "_", "-".join(filter(None, (recipe, ablations, variant, *parts))))


def weights_name(path, *, is_pretrained):
    """What a run's name says of its weights: the file's name, without its folder.

    Args:
      is_pretrained: whether the variant asks for a file.
    """
    return pathlib.PurePath(path).stem if path else "random_weights" if is_pretrained else ""
