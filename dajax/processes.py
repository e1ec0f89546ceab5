"""Several processes that train as one, on one machine or on many, by `jax.distributed`.

Every process runs the same program. It reads its share of each batch, its devices compute their
rows, and all hold the same parameters. What must be decided by looking at files the first process
decides, and it alone writes checkpoints, figures and tables. Pseudo-labels are the exception: each
process writes those of its images. So the workdir lies on a file system that all of them see.

In a run of one process every word here is the identity and costs nothing.
"""

import collections
import contextlib
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dajax import parallel
from dajax.typing import PyTree

# Bytes that travel at a time; as many from each process stand on every device. Ours.
_PIECE_BYTES = 16 * 2**20

_index, _count = 0, 1


def index() -> int:
    """The number of this process, from 0."""
    return _index


def count() -> int:
    """How many processes the run has."""
    return _count


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return _index == 0


def set_place(index: int, count: int) -> None:
    """Says which process this is, and of how many; dajax.joining does, once."""
    global _index, _count
    _index, _count = index, count


def meet(name: str) -> None:
    """Returns when every process is here."""
    if _count > 1:
        multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def first_before_others(name: str):
    """Lets the first process do the enclosed work alone, and then the others, who find what it has
    written.
    """
    if not is_first():
        meet(name)
    yield
    if is_first():
        meet(name)


def gathered(array: Any) -> np.ndarray:
    """[processes, ...]: the array of every process; one shape and one type everywhere.

    What travels is bytes, so that JAX does not narrow int64 and float64.
    """
    array = np.ascontiguousarray(array)
    if _count == 1 or not array.size:
        return np.stack([array] * _count)
    found = multihost_utils.process_allgather(array.reshape(-1).view(np.uint8))
    return np.asarray(found).view(array.dtype).reshape((_count, *array.shape))


def total(*parts: Any) -> tuple:
    """The sum of each array over the processes, in their order: the same bits everywhere.

    Args:
      parts: arrays, of one shape and type everywhere; or None, all of them, in a process that has
        had no batch to make them of. Those of numpy are changed in place.

    Returns: numpy arrays of the same types; in a run of one process the parts themselves.
    """
    if _count == 1:
        return parts
    own = None if parts[0] is None else [np.asarray(part) for part in parts]
    kinds = None if own is None else [(part.shape, part.dtype.str) for part in own]
    known = next(found for found in gathered_objects(kinds) if found is not None)
    if own is None:
        own = [np.zeros(shape, dtype) for shape, dtype in known]
    return tuple(_by_pieces(part, lambda pieces: pieces.sum(0, pieces.dtype)) for part in own)


def from_first(tree: PyTree) -> PyTree:
    """The first process's arrays, everywhere.

    Args:
      tree: of arrays; their shapes and types are the same everywhere, their values count in the
        first process alone.

    Returns: numpy arrays; the tree itself in a run of one process.
    """
    if _count == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    content = np.concatenate([np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in leaves])
    content = _by_pieces(content, lambda pieces: pieces[0])
    ends = np.cumsum([leaf.nbytes for leaf in leaves])[:-1]
    parts = zip(np.split(content, ends), leaves, strict=True)
    found = [part.copy().view(leaf.dtype).reshape(leaf.shape) for part, leaf in parts]
    return jax.tree.unflatten(structure, found)


def rows_of_all(rows: np.ndarray | None, places: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order: [N, ...].

    Args:
      rows: [n, ...] of this process, None where it has none.
      places: int [n], the place of each; all places below N are some process's.
    """
    size, whole = agreed(int(np.max(places, initial=-1))) + 1, None
    if rows is not None:
        whole = np.zeros((size, *rows.shape[1:]), rows.dtype)
        whole[places] = rows
    return total(whole)[0]


def _by_pieces(array, combine):
    """`combine` of [processes, n] pieces of an array, of its shape; in place where that can be."""
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = np.array(array, order="C")
    flat, size = array.reshape(-1), _PIECE_BYTES // array.itemsize
    for start in range(0, flat.size, size):
        flat[start : start + size] = combine(gathered(flat[start : start + size]))
    return array


def agreed(number: int) -> int:
    """The largest of the numbers that the processes give."""
    return int(gathered(np.array([number])).max())


class Agreement:
    """The largest of the numbers that the processes give, asked for at every step: the answer is
    that of _LAG questions ago, so that nobody waits for it. All have the same answers.
    """

    _LAG = 2  # questions: what a device may have before it beside the step that it computes

    def __init__(self):
        self._asked, self._ask = collections.deque(), None

    def __call__(self, number: int) -> int:
        """Asks, and answers an earlier question, 0 where there is none yet."""
        if _count == 1:
            return number
        if self._ask is None:
            self._ask = jax.pmap(lambda x: jax.lax.pmax(x, "devices"), axis_name="devices")
        asked = self._ask(np.full(jax.local_device_count(), number, np.int32))
        self._asked.append(parallel.in_order(asked))
        if len(self._asked) <= self._LAG:
            return 0
        return int(np.asarray(self._asked.popleft().addressable_data(0)).max())


def gathered_objects(own: Any) -> list:
    """What each process gives, JSON-able; with lists for tuples."""
    content = np.frombuffer(json.dumps(own).encode(), np.uint8)
    lengths = gathered(np.array([content.size]))[:, 0]
    rows = gathered(np.pad(content, (0, lengths.max() - content.size)))
    return [json.loads(bytes(row[:n])) for row, n in zip(rows, lengths, strict=True)]


def from_first_object(make: Callable[[], Any]) -> Any:
    """What `make` returns in the first process, which alone calls it; JSON-able."""
    if _count == 1:
        return make()
    return gathered_objects(make() if is_first() else None)[0]
