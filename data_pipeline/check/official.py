"""What the official downloads hold, and which part of it a folder lacks."""

from collections.abc import Iterable

# Frames per data set and how they are numbered: clan.md section 4 and SPCL's data table; Synscapes:
# its features page.
# first number, count, digits
_NUMBERED = {"gta5": (1, 24966, 5), "synthia": (0, 9400, 7), "synscapes": (1, 25000, 0)}
_CITYSCAPES = {  # frames and cities of the splits with public labels
    "cityscapes/train": (
        2975,
        (
            "aachen bochum bremen cologne darmstadt dusseldorf erfurt hamburg hanover jena krefeld"
            " monchengladbach strasbourg stuttgart tubingen ulm weimar zurich"
        ).split(),
    ),
    "cityscapes/val": (500, "frankfurt lindau munster".split()),
}
# Frames of the further street sets by split, with and without public labels.
_SPLITS = {
    # Sakaridis et al., ICCV 2021: 400 training and 500 test frames of each condition; 100 validate,
    # of the night 106.
    "acdc/train": 1600,
    "acdc/val": 406,
    "acdc/test": 2000,
    **{f"acdc/{condition}/train": 400 for condition in ("fog", "night", "rain", "snow")},
    **{f"acdc/{condition}/val": 100 for condition in ("fog", "rain", "snow")},
    "acdc/night/val": 106,
    **{f"acdc/{condition}/test": 500 for condition in ("fog", "night", "rain", "snow")},
    # Sakaridis et al., TPAMI 2020, section 6; "train" and "val" are those at night.
    **dict.fromkeys(("dark_zurich/train", "dark_zurich/train/night"), 2416),
    "dark_zurich/train/twilight": 2920,
    "dark_zurich/train/day": 3041,
    **dict.fromkeys(("dark_zurich/val", "dark_zurich/val/night"), 50),
    **dict.fromkeys(("dark_zurich/test", "dark_zurich/test/night"), 151),
    # Yu et al., CVPR 2020: 10,000 frames with a label of every pixel.
    "bdd100k/train": 7000,
    "bdd100k/val": 1000,
    "bdd100k/test": 2000,
    # Neuhold et al., ICCV 2017; the same in releases 1.2 and 2.0.
    "mapillary/training": 18000,
    "mapillary/validation": 2000,
    "mapillary/testing": 5000,
    # Brostow et al., ECCV 2008: 701; the splits are SegNet's.
    "camvid": 701,
    "camvid/train": 367,
    "camvid/val": 101,
    "camvid/test": 233,
}
# IDD comes in two parts; many have the first alone. Varma et al., WACV 2019: 6,993 and 981; both
# parts together ("IDD 20k"): 14,027 and 2,036.
_IN_PARTS = {"idd/train": (6993, 14027), "idd/val": (981, 2036)}
_IMAGES = {  # images with one label each
    # Office-31 and VisDA-2017: CAN's journal version (can.md section 3).
    "office31/amazon": 2817,
    "office31/dslr": 498,
    "office31/webcam": 795,
    "visda2017/train": 152397,
    "visda2017/validation": 55388,
    "visda2017/test": 72372,
    # Office-Home: its site (hemanthdv.org/OfficeHome-Dataset), 15,588 in all; PACS: its paper's
    # 9,991; ImageCLEF-DA: 12 classes of 50 images (Long et al., ICML 2017).
    "officehome/Art": 2427,
    "officehome/Clipart": 4365,
    "officehome/Product": 4439,
    "officehome/Real World": 4357,
    "pacs/art_painting": 2048,
    "pacs/cartoon": 2344,
    "pacs/photo": 1670,
    "pacs/sketch": 3929,
    "imageclef/b": 600,
    "imageclef/c": 600,
    "imageclef/i": 600,
    "imageclef/p": 600,
    # Digits-Five: what M3SDA draws of its files, and all of USPS.
    "digits_five/mnist/train": 25000,
    "digits_five/mnist/test": 9000,
    "digits_five/mnistm/train": 25000,
    "digits_five/mnistm/test": 9000,
    "digits_five/svhn/train": 25000,
    "digits_five/svhn/test": 9000,
    "digits_five/syn/train": 25000,
    "digits_five/syn/test": 9000,
    "digits_five/usps/train": 7438,
    "digits_five/usps/test": 1860,
    # DomainNet's cleaned lists: the catalogue of tensorflow-datasets (domainnet); the sums are
    # "#Cleaned" on ai.bu.edu/M3SDA.
    "domainnet/clipart/train": 33525,
    "domainnet/clipart/test": 14604,
    "domainnet/clipart/all": 48129,
    "domainnet/infograph/train": 36023,
    "domainnet/infograph/test": 15582,
    "domainnet/infograph/all": 51605,
    "domainnet/painting/train": 50416,
    "domainnet/painting/test": 21850,
    "domainnet/painting/all": 72266,
    "domainnet/quickdraw/train": 120750,
    "domainnet/quickdraw/test": 51750,
    "domainnet/quickdraw/all": 172500,
    "domainnet/real/train": 120906,
    "domainnet/real/test": 52041,
    "domainnet/real/all": 172947,
    "domainnet/sketch/train": 48212,
    "domainnet/sketch/test": 20916,
    "domainnet/sketch/all": 69128,
}


def official_count(name: str) -> int | None:
    """Frames or images of the official download of a set ("gta5", "cityscapes/val", "office31/dslr"
    ...), of its first part where it has several; None for a user's own data.
    """
    if name in _NUMBERED:
        return _NUMBERED[name][1]
    if name in _CITYSCAPES:
        return _CITYSCAPES[name][0]
    if name in _IN_PARTS:
        return _IN_PARTS[name][0]
    return _SPLITS.get(name, _IMAGES.get(name))


def describe_other_count(name: str, count: int) -> str | None:
    """One line when a set of images has not as many as the official download; None when it has or
    nothing is known of it.
    """
    expected = official_count(name)
    if expected is None or count in (expected, *_IN_PARTS.get(name, ())):
        return None
    if count > expected:
        return (
            f"{count:,} images; expected {expected:,}, as the official download has: remove those"
            " that are not of it"
        )
    return (
        f"{count:,} images; expected {expected:,}, as the official download has: unpack its"
        " archives again, with its lists where it has any"
    )


def describe_missing(name: str, frames: Iterable[str]) -> str | None:
    """One line on what a set lacks of, or has beyond, the official frames; None when it agrees or
    nothing is known of it.

    Args:
      name: as official_count takes it.
      frames: their names, without folder and ending; Cityscapes: "city/frame".
    """
    frames, expected = set(frames), official_count(name)
    if expected is None:
        return None
    if name in _SPLITS or name in _IN_PARTS:
        return describe_other_count(name, len(frames))
    if name in _CITYSCAPES:
        if len(frames) == expected:
            return None
        if len(frames) > expected:
            return (
                f"{len(frames):,} frames; the official split has {expected:,}: remove those that"
                " are not of it"
            )
        cities = [
            city
            for city in _CITYSCAPES[name][1]
            if city not in {frame.split("/")[0] for frame in frames}
        ]
        detail = f"no folder or no frame of {', '.join(cities)}" if cities else "each city has some"
        return (
            f"{len(frames):,} of {expected:,} official frames; {detail}: unpack the downloaded"
            " archives again"
        )
    first, count, digits = _NUMBERED[name]
    names = [
        f"{number:0{digits}d}" if digits else str(number) for number in range(first, first + count)
    ]
    missing, surplus = [frame not in frames for frame in names], sorted(frames - set(names))
    if surplus:
        return (
            f"{len(surplus):,} frames that the official download has not, {surplus[0]} for one:"
            " remove them, or read them as 'own'"
        )
    if not any(missing):
        return None
    return (
        f"{len(frames):,} of {expected:,} official frames; missing: {_ranges(names, missing)}:"
        " unpack the downloaded archives again"
    )


def _ranges(names, is_missing, most=4) -> str:
    """ "00004..00010, 00012 and 3 more ranges"."""
    starts = [i for i in range(len(names)) if is_missing[i] and not (i and is_missing[i - 1])]
    ends = [
        i
        for i in range(len(names))
        if is_missing[i] and not (i + 1 < len(names) and is_missing[i + 1])
    ]
    shown = [
        names[a] if a == b else f"{names[a]}..{names[b]}"
        for a, b in zip(starts[:most], ends[:most], strict=True)
    ]
    return ", ".join(shown) + (
        f" and {len(starts) - most:,} more ranges" if len(starts) > most else ""
    )
