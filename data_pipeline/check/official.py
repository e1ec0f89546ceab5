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
    ...); None for a user's own data.
    """
    return (
        _NUMBERED[name][1] if name in _NUMBERED else _CITYSCAPES.get(name, (_IMAGES.get(name),))[0]
    )


def describe_other_count(name: str, count: int) -> str | None:
    """One line when a set of images has not as many as the official download; None when it has or
    nothing is known of it.
    """
    expected = official_count(name)
    if expected is None or count == expected:
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
