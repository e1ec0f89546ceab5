"""What was loaded from a file of weights, and the refusal of a file that does not fit."""

import dataclasses
import re
import zlib

import numpy as np

from dajax.models.weight_files import WeightsError

# The number of a residual stage's block.
BLOCK = re.compile(r"(layer[1-4])\.(\d+)\.")


@dataclasses.dataclass(frozen=True)
class Report:
    """What was loaded from a weights file and what was not. All names are the file's, sorted and
    without its prefix.

    Attributes:
      loaded: entries copied into the network.
      missing: entries of the network that the file lacks or has in another shape; left as they
        were.
      unexpected: entries of the file that the network does not have.
      ignored: entries of the file that were left out on purpose (the ImageNet head, batch
        counters).
      checksum: crc32 of the loaded arrays, as float32 in torch's layout and in the order of
        `loaded`; the same file gives the same number.
      prefix: what was taken off the file's names, e.g. "module.".
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]
    checksum: int
    prefix: str = ""

    def __str__(self):
        def listing(kind, names):
            return f"{len(names)} {kind}" + (f" ({_first(names)})" if names else "")

        others = ", ".join(
            listing(kind, getattr(self, kind)) for kind in ("missing", "unexpected", "ignored")
        )
        prefix = f" (prefix '{self.prefix}' taken off)" if self.prefix else ""
        return f"{len(self.loaded)} entries loaded{prefix}, crc32 {self.checksum:08x}; {others}"


def _first(names, count=3):
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def check_finite(entries, loaded):
    """Refuses NaN and infinity in what the network takes; they would make every later number NaN.

    Args:
      entries: torch_names.Entries.
      loaded: names of the entries that the network takes.

    Raises:
      WeightsError: one line that names the entry as the file does.
    """
    broken = []
    for name in sorted(loaded):
        with np.errstate(over="ignore"):  # of 64-bit numbers: found here as infinite
            array = np.asarray(entries.arrays[name], np.float32)
        count = array.size - int(np.isfinite(array).sum())
        if count:
            broken.append(f"{entries.file_names[name]} ({count} of {array.size} numbers)")
    if broken:
        raise WeightsError(
            f"NaN or infinity in {len(broken)} entries: {_first(broken)}; the file is damaged, or "
            "was saved by a run that had diverged: choose another"
        )


def make_report(entries, poured, ignored):
    """The Report of what `weights.pour` did.

    Args:
      entries: torch_names.Entries that were poured.
      poured: weights.Poured.
      ignored: set of names that were left out on purpose.
    """
    state_dict, loaded = entries.arrays, sorted(poured.loaded)
    unexpected = state_dict.keys() - set(loaded) - poured.misfits.keys() - ignored
    return Report(
        loaded=tuple(loaded),
        missing=tuple(sorted([*poured.absent, *poured.misfits])),
        unexpected=tuple(sorted(unexpected)),
        ignored=tuple(sorted(ignored)),
        checksum=_checksum(state_dict, loaded),
        prefix=entries.prefix,
    )


def mismatch_hint(poured, left_over, entries):
    """Why a file does not fill a network, and what to do.

    Args:
      poured: weights.Poured.
      left_over: names of the file without a place in the network.
      entries: torch_names.Entries of the file.
    """
    network = [*poured.loaded, *poured.absent, *poured.misfits]
    ours, theirs = _architecture(network), _architecture(entries.arrays)
    if not poured.loaded and not poured.misfits:
        names = _first(sorted(entries.file_names.values())) or "none"
        return (
            f"the file's names ({names}) are none of this network's: a file of another "
            "architecture, or one that needs other names"
        )
    if ours != theirs:
        return (
            f"the file is of another architecture ({theirs}; this network has {ours}): choose "
            "config.model.backbone as in the file"
        )
    if poured.absent and not poured.misfits and not left_over:
        if all(".running_" in name for name in poured.absent):
            return (
                "the statistics of batch normalisation are not in the file: save "
                "model.state_dict(), which has them"
            )
        return (
            "the rest fits, so the file is incomplete: save all of model.state_dict(), or fetch "
            "it again"
        )
    if list(poured.misfits) == ["conv1.weight"]:
        return "the file is made for another number of image channels, or has another first layer"
    return "another architecture: choose a file of this backbone, in its widths"


def _architecture(names):
    """A residual network in words: how many blocks its stages have, and convolutions a block."""
    blocks, names = {}, set(names)
    for found in filter(None, map(BLOCK.match, names)):
        blocks[found[1]] = max(blocks.get(found[1], 0), int(found[2]) + 1)
    if not blocks:
        return "no residual stages"
    stages = "-".join(str(blocks[stage]) for stage in sorted(blocks))
    convolutions = 3 if any(name.endswith(".conv3.weight") for name in names) else 2
    return f"{stages} blocks of {convolutions} convolutions"


def check_complete(poured, left_over, hint):
    """Refuses a file that fills only a part of the network, or would fill another one.

    Args:
      poured: weights.Poured; its `absent` and `misfits` are what the file does not give.
      left_over: names of the file that have no place in the network.
      hint: what to do.

    Raises:
      WeightsError: one line.
    """
    problems = []
    absent = sorted(poured.absent)
    misfits = [poured.misfits[name] for name in sorted(poured.misfits)]
    if absent:
        problems.append(f"{len(absent)} entries are missing ({_first(absent)})")
    if misfits:
        problems.append(f"{len(misfits)} have another shape ({misfits[0]})")
    if left_over:
        problems.append(
            f"{len(left_over)} of the file have no place in this network ({_first(left_over)})"
        )
    if problems:
        raise WeightsError(f"{'; '.join(problems)}: {hint}")


def _checksum(state_dict, names):
    checksum = 0
    for name in names:
        checksum = zlib.crc32(
            np.ascontiguousarray(state_dict[name], np.float32).tobytes(), checksum
        )
    return checksum
