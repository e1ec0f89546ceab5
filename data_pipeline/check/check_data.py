"""Reads every file of the data before hours are spent on it: `run.py --mode=check_data`.

One run lists everything that is wrong: it goes on after a finding. Each finding is one line that
names the file, what was found and the remedy.
"""

import collections
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.check.check_images import Treatments, check_images, num_encoded
from data_pipeline.check.file_checks import broken
from data_pipeline.check.official import describe_missing, official_count
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.decode import read_picture
from data_pipeline.errors import DataError, printable
from data_pipeline.files.folder_scan import describe
from data_pipeline.segmentation.labels import IGNORED, LabelSpace, unknown_ids
from data_pipeline.segmentation.layouts import Listing, unpaired
from data_pipeline.segmentation.readers import list_files
from data_pipeline.segmentation.segmentation_set import size_mismatch
from data_pipeline.segmentation.train_ids import (
    REMEDY,
    all_ignored,
    describe_all_ignored,
    looks_like_train_ids,
)

MAX_LINES = 10  # of one kind of finding in one domain; the rest are counted


class _File(NamedTuple):
    """What decoding one frame gave."""

    image_hw: tuple[int, int] | None
    counts: np.ndarray | None  # int64 [256], pixels by id; ids above 255 are left out
    problems: list[tuple[str, str]]  # kind, line
    treatments: tuple[str, ...] = ()  # of the image's pixels, see decode.Picture


def check(
    domains: Sequence[tuple[str, Any]], progress: Callable[[int, int], None]
) -> tuple[list[str], bool]:
    """Decodes every file of every domain in a pool of threads, one for each core.

    Args:
      domains: pairs (role, domain). The role heads the report; one that begins with "source" needs
        labels. The domain is the config of one of segmentation (see
        segmentation.readers.read_domain), an ImageSet, or the DataError that opening one raised.
      progress: called with (files done, files in all) after each; a frame with its label is one
        file.
    Returns: the report as lines, and whether nothing is wrong.
    """
    opened = [(role, _open(role, what)) for role, what in domains]
    total, done = sum(_num_files(what) for _, what in opened), 0

    def read_all(function, items) -> Iterator[Any]:
        nonlocal done
        # an iterator that is dropped, as by Ctrl-C, takes its queued files along
        for result in pool.map(function, items):
            done += 1
            progress(done, total)
            yield result

    lines, is_ok = [], True
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for role, what in opened:
            problems: dict[str, list[str]] = collections.defaultdict(list)
            lines += _check_domain(role, what, read_all, problems)
            lines += list_problems(problems) or ["  nothing wrong"]
            is_ok &= not problems
    return [printable(line) for line in lines], is_ok


def _check_domain(role, what, read_all, problems) -> list[str]:
    if isinstance(what, ImageSet):
        return check_images(role, what, read_all, problems)
    if isinstance(what, Listing):
        return _check_segmentation(role, what, read_all, problems)
    problems["cannot be opened"].append(str(what))
    return [f"{role}:"]


def _open(role, what):
    if isinstance(what, (ImageSet, DataError)):
        return what
    try:
        return list_files(what, f"config.data.{role}")
    except DataError as error:
        return error


def _num_files(what) -> int:
    if isinstance(what, ImageSet):
        return num_encoded(what)
    return len(_frames(what)) if isinstance(what, Listing) else 0


def _frames(listing) -> list[str]:
    """Every frame that has an image, a label or both."""
    return list(listing.images | (listing.labels or {}))


def _check_segmentation(role, listing: Listing, read_all, problems) -> list[str]:
    official = official_count(listing.name)
    num_labels = (
        "no folder of labels" if listing.labels is None else f"{len(listing.labels):,} labels"
    )
    lines = [
        f"{role}: {listing.name} in {listing.root}: {len(listing.images):,} images, {num_labels}"
        + (f" (official: {official:,})" if official else "")
    ]
    lines += [f"  {line}" for line in describe(listing.left_out)]
    missing = describe_missing(listing.name, listing.images)
    if missing:
        problems["incomplete"].append(f"{listing.root}: {missing}")
    if unpaired(listing):
        problems["unpaired"] += unpaired(listing)
    if listing.labels is None and role.startswith("source"):
        first = listing.label_of(next(iter(listing.images)))
        problems["no labels"].append(
            f"{listing.root}: a source needs labels; unpack them so that {first} exists"
        )

    counts, files_with = np.zeros(256, np.int64), np.zeros(256, np.int64)
    sizes, suspects, treated = collections.Counter(), [], Treatments()
    frames = _frames(listing)

    def examine(frame):
        return _examine(listing, frame)

    # read_all's iterator has no name: a traceback would hold it, and with it the queued files.
    for frame, file in zip(frames, read_all(examine, frames), strict=True):
        for kind, line in file.problems:
            problems[kind].append(line)
        treated.add(file.treatments, listing.images.get(frame))
        if file.image_hw:
            sizes[file.image_hw] += 1
        if file.counts is not None:
            counts += file.counts
            files_with += file.counts > 0
            if (
                listing.space.id_scheme == "cityscapes"
                and file.counts[IGNORED]
                and looks_like_train_ids(file.counts)
            ):
                suspects.append(listing.labels[frame])
    shown = [f"{w}x{h} ({number:,})" for (h, w), number in sizes.most_common(MAX_LINES)]
    shown = ", ".join(shown) or "none could be read"
    lines.append(f"  image sizes (width x height): {shown}")
    lines += treated.lines()
    if listing.labels is None:
        return lines
    if listing.space.id_scheme == "cityscapes" and looks_like_train_ids(counts):
        problems["TrainIds"].append(
            f"{next(iter(listing.labels.values()))} and all others: {REMEDY}"
        )
    elif suspects:
        problems["TrainIds"] += [f"{path}: {REMEDY}" for path in suspects]
    if all_ignored(counts, listing.space):
        ignored = describe_all_ignored(listing.name, counts, listing.space)
        problems["all ignored"].append(
            f"{next(iter(listing.labels.values()))} and all others: {ignored}"
        )
    return lines + _histogram(listing.space, counts, files_with)


def _examine(listing, frame) -> _File:
    problems: list[tuple[str, str]] = []
    picture = _read(read_picture, listing.images.get(frame), problems)
    image_hw = None if picture is None else picture.pixels.shape[:2]
    treatments = () if picture is None else picture.treatments
    path = (listing.labels or {}).get(frame)
    ids = _read(listing.read_ids, path, problems)
    if ids is None:
        return _File(image_hw, None, problems, treatments)
    all_counts = np.bincount(ids.ravel(), minlength=256)
    values = np.flatnonzero(all_counts)
    unknown = unknown_ids(values, all_counts[values], listing.space)
    if unknown:
        problems.append(("unknown id", f"{path}: {unknown}"))
    mismatch = image_hw and size_mismatch(
        ids.shape, image_hw, listing.size_tolerance, listing.label_scale
    )
    if mismatch:
        problems.append(("size", f"{path}: {mismatch} ({listing.images[frame]})"))
    return _File(image_hw, all_counts[:256], problems, treatments)


def _read(function, path, problems):
    """function(path), or None where there is no path or the file is broken, which is added to the
    problems.
    """
    if path is None:
        return None
    line = broken(path)
    if line is None:
        try:
            return function(path)
        except DataError as error:
            line = str(error)
    problems.append(("unreadable", line))
    return None


def _histogram(space: LabelSpace, counts, files_with) -> list[str]:
    """A row for each class that is trained, and for each other id that occurs."""
    total = max(int(counts.sum()), 1)
    known = {entry.id: entry for entry in space.classes}
    ids = [
        entry.id for entry in sorted(space.classes, key=lambda entry: (entry.train_id, entry.id))
    ]
    ids += [i for i in np.flatnonzero(counts).tolist() if i not in known]
    lines = [f"  {'id':>4}  {'class':<22}{'train id':>8}{'pixels':>16}{'per cent':>10}{'files':>9}"]
    for i in ids:
        train_id = known[i].train_id if i in known else IGNORED
        if counts[i] or train_id != IGNORED:
            name = known[i].name if i in known else "(unknown id)"
            shown = "ignored" if train_id == IGNORED else train_id
            percent = 100 * counts[i] / total
            lines.append(
                f"  {i:>4}  {name:<22}{shown:>8}{counts[i]:>16,}{percent:>10.3f}{files_with[i]:>9,}"
            )
    return lines


def list_problems(problems: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines of the findings, the first MAX_LINES of each kind."""
    lines = []
    for kind, found in problems.items():
        lines += [f"  {kind}: {line}" for line in found[:MAX_LINES]]
        if len(found) > MAX_LINES:
            lines.append(f"  {kind}: and {len(found) - MAX_LINES:,} more of this kind")
    return lines
