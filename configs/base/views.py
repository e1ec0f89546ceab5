"""The random views of a recipe's training images, as arguments of the variants `folder`, `tfds` and
`digits_five`; the other variants keep the views that are published for them.

  flip=no        half of the images are mirrored otherwise; letters and digits want none of it
  affine=yes     turned, sheared, stretched and moved by the ranges of the embedded digits
  jitter=yes     colours jittered, strength 0.4; jitter=0.2 is half as strong
  invert=yes     half of the images become their negative; invert=0.3 three in ten
  erase=yes      half of the images lose a random rectangle; erase=0.25 a quarter

Each takes `no` too, and `true` and `false` for yes and no. What is drawn in detail are the keys of
config.data.transform; every one of them can be set on the command line.
"""

NAMES = ("flip", "affine", "jitter", "invert", "erase")
KEYS = dict.fromkeys(NAMES, "")  # "" stands for the variant's own

# Handwriting leans, stretches and wanders by about so much, type does not; chosen before any target
# figure was looked at. The shift is 2 pixels of the embedded digits' 32.
AFFINE = dict(rotate_rad=0.25, shear=0.3, scale=0.2)
SHIFT_OF_SIDE = 2 / 32
# What `yes` stands for. jitter: the strength of MoCo v2 (main_moco.py, --aug-plus) and of many
# others; erase: torchvision's RandomErasing; invert: ours.
_YES = dict(flip=1.0, affine=1.0, jitter=0.4, invert=0.5, erase=0.5)
# jitter: at 2 the hue turns by half a circle either way, which is all there is
_MOST = dict(jitter=2.0, invert=1.0, erase=1.0)
_WHAT = dict(jitter="a strength", invert="a share of the images", erase="a share of the images")
_ON, _OFF = ("yes", "true"), ("no", "false")


def off():
    """Keys of a transform that has no random view: all are there, so that each can be set by
    --config.data.transform.KEY=VALUE. A probability of 0 draws nothing.
    """
    return dict(
        affine=dict(rotate_rad=0.0, shear=0.0, scale=0.0, shift_px=0.0),
        appearance=dict(
            color_jitter=_color_jitter(_YES["jitter"], probability=0.0),
            # MoCo v2's; SimCLR blurs with the same
            blur=dict(sigma=(0.1, 2.0), probability=0.0),
        ),
        invert=0.0,  # share of the images
        # torchvision's RandomErasing: bounds of the rectangle's share of the image, and of its
        # height over its width
        erase=dict(probability=0.0, area=(0.02, 0.33), ratio=(0.3, 3.3)),
    )


def affine(side):
    """The ranges of the embedded digits at images of `side` pixels."""
    return dict(**AFFINE, shift_px=SHIFT_OF_SIDE * side)


def _color_jitter(strength, probability):
    """SimCLR's and MoCo v2's proportions: the hue moves by a quarter of the others' strength."""
    return dict(
        brightness=strength,
        contrast=strength,
        saturation=strength,
        hue=strength / 4,
        probability=probability,
    )


def strength(arg, key):
    """How strong a view is, 0.0 for none.

    Args:
      arg: the parsed argument of a recipe, whose `key` holds the text after `key=`.

    Raises:
      ValueError: in one line, for a text that says nothing.
    """
    text = arg[key].lower()
    if not text:
        return 1.0 if key == "flip" and arg.variant != "digits_five" else 0.0
    if text in (*_ON, *_OFF):
        return _YES[key] if text in _ON else 0.0
    expected = "expected yes or no"
    if key in _MOST:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if 0 <= value <= _MOST[key]:
            return value
        expected += f" ({_YES[key]:g} or 0), or {_WHAT[key]} from 0 to {_MOST[key]:g}"
    raise ValueError(f"configuration argument '{key}={arg[key]}': {expected}")


def settings(arg, side):
    """Keys of config.data.transform for the views of an argument.

    Args:
      side: pixels of what the network sees.

    Raises:
      ValueError: as `strength`.
    """
    found, strengths = off(), {key: strength(arg, key) for key in NAMES}
    if strengths["affine"]:
        found["affine"] = affine(side)
    if strengths["jitter"]:
        # of MoCo v2 and SimCLR: eight images in ten
        found["appearance"]["color_jitter"] = _color_jitter(strengths["jitter"], probability=0.8)
    found["invert"] = strengths["invert"]
    found["erase"]["probability"] = strengths["erase"]
    return dict(flip=bool(strengths["flip"]), **found)


def run_name(arg):
    """The parts of a run's name that say which views are not the variant's own."""
    own = {"flip": arg.variant != "digits_five"}
    parts = []
    for key in NAMES:
        value = strength(arg, key)
        if value == own.get(key, 0.0):
            continue
        shown = str(value) if key in _MOST else "" if value else "_no"
        parts.append(f"{key}{shown}")
    return parts
