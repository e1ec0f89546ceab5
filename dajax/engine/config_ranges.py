"""The range of every number of a config, in one place, looked at before data are opened."""

import dataclasses
import json
import math
import re

from dajax.errors import UserError

INFINITY = math.inf
LARGEST_COUNT = 2**31 - 1  # a TrainState's step is an int32
# a key of JAX's threefry takes 32 bits of a seed where 64-bit types are off
LARGEST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included but for `low` where `is_open`. `is_ordered`: a
    pair (from, to).
    """

    low: float = -INFINITY
    high: float = INFINITY
    is_open: bool = False
    high_is_open: bool = False
    is_ordered: bool = False

    def has(self, value):
        """Whether a finite number lies in it."""
        above = value > self.low if self.is_open else value >= self.low
        is_finite = isinstance(value, int) or math.isfinite(value)
        below = value < self.high if self.high_is_open else value <= self.high
        return is_finite and above and below

    def __str__(self):
        if self.low == -INFINITY:
            return "a finite number" if self.high == INFINITY else f"at most {self.high:g}"
        low = f"more than {self.low:g}" if self.is_open else f"at least {self.low:g}"
        if self.high == INFINITY:
            return low
        return (
            f"{low} and {'less than' if self.high_is_open else 'at most'} "
            f"{self.high if isinstance(self.high, int) else f'{self.high:g}'}"
        )


FINITE, NOT_NEGATIVE, POSITIVE = Range(), Range(0), Range(0, is_open=True)
COUNT, WHOLE, SEED = Range(1, LARGEST_COUNT), Range(0, LARGEST_COUNT), Range(0, LARGEST_SEED)
FRACTION, DECAY = Range(0, 1), Range(0, 1, high_is_open=True)

# By the last part of a key, or by its end where one word has two meanings. Numbers within a tuple
# are looked at one by one; words and None have no range. tests/engine/test_config_ranges.py sees to
# it that every number of every recipe is here.
RANGES = {
    # How long, how often, how many.
    **dict.fromkeys(
        (
            "steps",
            "max_loops",
            "batch_size",
            "init_batch_size",
            "reestimate_batch_size",
            "eval_batch_size",
            "accumulate",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
            "keep_every",
            "every_steps",
            "ramp_steps",
            "num_classes",
            "source_per_class",
            "target_per_class",
            "max_updates",
            "label_batch_size",
            "refreshes",
            "moment_orders",
            "chunk_size",
            "num_k",
            "per_class",
            "size",
            "resize",
            "crop",
            "stride",
            "fit",
            "target_hw",
            "widths",
            "head_widths",
            "width",
            "discriminator_width",
            "aspp_branches",
            "aspp_rates",
            "head_channels",
            "detail_hw",
            "kernel_num",
            "repeats",
            "scenes.source",
            "scenes.target",
            "scenes.evaluation",
        ),
        COUNT,
    ),
    **dict.fromkeys(
        (
            "devices",
            "num_processes",
            "process_id",
            "evaluate_every",
            "horizon_steps",
            "warmup_steps",
            "min_count",
            "min_images",
            "label_free_rounds",
            "num_pictures",
            "reestimate_batches",
            "agreement_batches",
            "bottleneck",
            "never",
            "target_bn",
            "randomized_dim",
            "masked.block",
            "ignore_top",
            "ignore_bottom",
            "feature_distance.classes",
            "runtime.keep_every",
            "min_pixels",
        ),
        WHOLE,
    ),
    **dict.fromkeys(("seed", "held_out_seed"), SEED),
    **dict.fromkeys(("held_out", "source_held_out"), DECAY),
    **dict.fromkeys(("report_seconds", "keep_images_mib", "cache_gb"), NOT_NEGATIVE),
    # Optimisers. A rate of 0 is legal: a stage that moves nothing.
    **dict.fromkeys(
        (
            "lr",
            "min_lr",
            "weight_decay",
            "lr_multipliers",
            "decay_multipliers",
            "power",
            "alpha",
            "beta",
        ),
        NOT_NEGATIVE,
    ),
    "warmup_ratio": FRACTION,
    "layer_decay": Range(0, 1, is_open=True),
    "momentum": DECAY,
    "label_smoothing": DECAY,
    "bsa_momentum": DECAY,
    "bsa_floor": POSITIVE,
    "min_agreement": FRACTION,
    "betas": DECAY,
    **dict.fromkeys(("dropout", "drop_path"), DECAY),
    "detail_weight": FRACTION,
    "optimizer.gamma": Range(0, 1, is_open=True),
    # Losses.
    **dict.fromkeys(
        (
            "weight",
            "aux_weight",
            "local_weight",
            "balance_weight",
            "information_weight",
            "moment_weight",
            "delta",
            "radius",
            "entropy_weight",
            "source_weight",
            "kld_weight",
            "ce_weight",
            "rce_weight",
            "consistency_weight",
            "target_weight",
            "contrast_weight",
            "lovasz_weight",
            "weight_loss",
            "epsilon",
            "loss.gamma",
            "label_smoothing.threshold",
            "low",
            "high",
        ),
        NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        ("temperature", "logit_temperature", "source_temperature", "kernel_mul"), POSITIVE
    ),
    # Thresholds, shares and means.
    **dict.fromkeys(("max_distance", "eps", "stop_thresholds"), NOT_NEGATIVE),
    "update_fraction": POSITIVE,
    # what a probability or a label is raised to before its logarithm
    **dict.fromkeys(("smallest_probability", "smallest_label"), Range(0, 1, is_open=True)),
    "log_floor": FRACTION,
    "max_share": FRACTION,
    "max_class_share": Range(0, 1, is_open=True),
    # Rare class sampling (DAFormer); a temperature of 0 is none.
    "rare_classes.temperature": NOT_NEGATIVE,
    "min_crop_ratio": NOT_NEGATIVE,
    "margins": DECAY,
    "dynamic.threshold": Range(-1, 1),  # of a cosine
    # of the shorter side; at 0.5 all frequencies are within
    **dict.fromkeys(("style.beta", "fourier.beta"), Range(0, 0.5)),
    "target_loss.ratio": FRACTION,
    "target_loss.eta": POSITIVE,
    **dict.fromkeys(
        (
            "decay",
            "prototype_decay",
            "proportion",
            "cap",
            "share",
            "image_share",
            "source_share",
            "easy_share",
            "aggregation_alpha",
            "threshold",
            "masked.ratio",
            "feature_distance.min_share",
        ),
        FRACTION,
    ),
    # Views of images.
    "mean": FINITE,
    "std": POSITIVE,
    "divisor": POSITIVE,
    "image_scales": POSITIVE,
    "scale_range": Range(0, is_open=True, is_ordered=True),
    "shorter_edge": Range(1, is_ordered=True),
    **dict.fromkeys(
        ("brightness", "contrast", "saturation", "rotate_rad", "shear", "shift_px"), NOT_NEGATIVE
    ),
    "hue": Range(0, 0.5),  # of a turn
    "affine.scale": DECAY,
    **dict.fromkeys(("probability", "invert"), FRACTION),
    "erase.area": Range(0, 1, is_open=True, is_ordered=True),
    **dict.fromkeys(("erase.ratio", "blur.sigma"), Range(0, is_open=True, is_ordered=True)),
}


def range_of(key):
    """The Range of "can.optimizer.lr"; None for a key that has none."""
    parts = key.split(".")
    return RANGES.get(".".join(parts[-2:])) or RANGES.get(parts[-1])


def numbers_in(value):
    """All numbers within a value of a config, which may be a tuple of tuples; truth values are
    none.
    """
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in numbers_in(part)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


PAIRS = ("lr_multipliers", "decay_multipliers", "repeats")  # of a pattern and a number


# By the last parts of a key. Two numbers, (from, to); or (height, width), where one number stands
# for both. None is none of them.
TWO_NUMBERS = ("betas", "scale_range", "erase.area", "erase.ratio", "blur.sigma")
ONE_OR_TWO_NUMBERS = ("size", "shorter_edge", "transform.resize")


def _check_pair(key, value):
    """How many numbers there are: a tuple of the command line has any length, and an own recipe may
    hold anything.
    """
    parts = key.split(".")
    names = (parts[-1], ".".join(parts[-2:]))
    is_two = any(name in TWO_NUMBERS for name in names)
    if value is None or not (is_two or any(name in ONE_OR_TWO_NUMBERS for name in names)):
        return
    numbers = numbers_in(value)
    are_two = isinstance(value, (list, tuple)) and len(value) == len(numbers) == 2
    if not are_two and (is_two or numbers != [value]):
        expected = "two numbers, (a, b)" if is_two else "one number, or two, (a, b)"
        raise UserError(f"config.{key}={value}: expected {expected}; correct --config.{key}")


def _check_kinds(key, value):
    """Numbers within a tuple: the command line looks at the kind of single ones alone."""
    if not isinstance(value, (list, tuple)) or range_of(key) is None:
        return
    parts = value
    if key.split(".")[-1] in PAIRS:
        if not all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
            for pair in value
        ):
            raise UserError(
                f"config.{key}={value}: expected pairs of a pattern and a number, (('/head/', "
                "10.0),)"
            )
        parts = [pair[1] for pair in value]
    for part in parts:
        if isinstance(part, (list, tuple)):
            _check_kinds(key, part)
        elif isinstance(part, bool) or not isinstance(part, (int, float)):
            raise UserError(f"config.{key}={value}: {part!r} is no number; correct --config.{key}")


def check_writable(flat):
    """Looks at the kind of every value: a tuple on the command line may hold any literal of Python.

    Args:
      flat: as of `check`, with tuples in place of lists.

    Raises:
      UserError: the first that config.json cannot hold.
    """
    for key, value in flat.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"config.{key}={value!r}: {error}; expected numbers, words and tuples of them; "
                f"correct --config.{key}"
            ) from error


def steps_to_trace(text):
    """config.runtime.profile: "10:15" -> (10, 15), both included; None for "".

    Raises:
      UserError: anything else.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(
            f"config.runtime.profile='{text}': expected FIRST:LAST, two steps from 1 on, such as"
            " 10:15; correct --config.runtime.profile, or leave it out"
        )
    return int(found[1]), int(found[2])


def check(flat):
    """Looks at every number of a config, and at the steps of runtime.profile.

    Args:
      flat: {"can.optimizer.lr": 0.001, ...}, see config_check.flatten.

    Raises:
      UserError: the first that lies outside of its range, or is none.
    """
    for key, value in flat.items():
        _check_kinds(key, value)
        _check_pair(key, value)
        numbers, allowed = numbers_in(value), range_of(key) or FINITE
        for number in numbers:
            if not allowed.has(number):
                among = "" if number is value else f" of {value}"
                raise UserError(
                    f"config.{key}={number}{among}: expected {allowed}; correct --config.{key}"
                )
        if allowed.is_ordered and len(numbers) == 2 and numbers[0] > numbers[1]:
            raise UserError(
                f"config.{key}={value}: expected the smaller number first; correct --config.{key}"
            )
    steps_to_trace(flat.get("runtime.profile"))
    for low in (key for key in flat if key.endswith("reversal.low")):
        high = low.removesuffix("low") + "high"
        if flat[low] > flat[high]:
            raise UserError(
                f"config.{low}={flat[low]} is above config.{high}={flat[high]}; correct one of them"
            )
