"""What the official downloads hold, and which part of it a folder lacks."""

from collections.abc import Iterable

# Frames per data set and how they are numbered: clan.md section 4 and SPCL's data table; Synscapes: its features page.
_NUMBERED = {"gta5": (1, 24966, 5), "synthia": (0, 9400, 7), "synscapes": (1, 25000, 0)}  # first number, count, digits
_CITYSCAPES = {  # frames and cities of the splits with public labels
    "cityscapes/train": (2975, (
        "aachen bochum bremen cologne darmstadt dusseldorf erfurt hamburg hanover jena krefeld monchengladbach strasbourg stuttgart "
        "tubingen ulm weimar zurich").split()),
    "cityscapes/val": (500, "frankfurt lindau munster".split()),
}


def official_count(name: str) -> int | None:
    """Frames of the official download of a set ("gta5", "cityscapes/val" ...); None for others, such as a user's own data."""
    return _NUMBERED[name][1] if name in _NUMBERED else _CITYSCAPES.get(name, (None,))[0]


def describe_missing(name: str, frames: Iterable[str]) -> str | None:
    """One line on what a set lacks of, or has beyond, the official frames; None when it agrees or nothing is known of it.

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
            return f"{len(frames):,} frames; the official split has {expected:,}: remove those that are not of it"
        cities = [city for city in _CITYSCAPES[name][1] if city not in {frame.split("/")[0] for frame in frames}]
        detail = f"no folder or no frame of {', '.join(cities)}" if cities else "each city has some"
        return f"{len(frames):,} of {expected:,} official frames; {detail}: unpack the downloaded archives again"
    first, count, digits = _NUMBERED[name]
    names = [f"{number:0{digits}d}" if digits else str(number) for number in range(first, first + count)]
    missing, surplus = [frame not in frames for frame in names], sorted(frames - set(names))
    if surplus:
        return f"{len(surplus):,} frames that the official download has not, {surplus[0]} for one: remove them, or read them as 'own'"
    if not any(missing):
        return None
    return f"{len(frames):,} of {expected:,} official frames; missing: {_ranges(names, missing)}: unpack the downloaded archives again"


def _ranges(names, is_missing, most=4) -> str:
    """"00004..00010, 00012 and 3 more ranges"."""
    starts = [i for i in range(len(names)) if is_missing[i] and not (i and is_missing[i - 1])]
    ends = [i for i in range(len(names)) if is_missing[i] and not (i + 1 < len(names) and is_missing[i + 1])]
    shown = [names[a] if a == b else f"{names[a]}..{names[b]}" for a, b in zip(starts[:most], ends)]
    return ", ".join(shown) + (f" and {len(starts) - most:,} more ranges" if len(starts) > most else "")
