"""Which pictures --images names, what their predictions are called, and their pixels."""

import collections
import concurrent.futures
import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from dajax.errors import UserError
from dajax.predict import video
from data_pipeline.decode import read_image
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import LeftOut, describe, scan, what_is_there
from data_pipeline.preprocess import IMAGE_ENDINGS

# decode.py reads these two as well; data sets for training do not hold them
ENDINGS = (*IMAGE_ENDINGS, ".gif", ".webp")
_MOST_THREADS = 8  # that decode, ours: beyond, the disk or the network is the slower part
_AHEAD = 2  # pictures that wait for each thread, ours


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture to predict.

    Attributes:
      file: what records and messages call it: its path below the folder of --images; of a frame,
        the video's with "#<number>".
      name: of its predictions, without an ending; may hold folders.
      path: of its file.
      pixels: uint8 [H, W, 3] of a frame of a video; None of a file.
    """

    file: str
    name: str
    path: str
    pixels: np.ndarray | None = None

    def read(self):
        """uint8 [H, W, 3] RGB.

        Raises:
          DataError: naming the file, where it cannot be decoded.
        """
        return read_image(self.path) if self.pixels is None else self.pixels

    def stamp(self):
        """(bytes, modification time in ns) of its file, which tell a changed file; (-1, -1) of one
        that is gone.
        """
        try:
            found = os.stat(self.path)
        except OSError:
            return -1, -1
        return found.st_size, found.st_mtime_ns


@dataclasses.dataclass(frozen=True)
class Listing:
    """What --images names.

    Attributes:
      text: as it was given, absolute.
      root: folder that `file` of a picture is relative to.
      files: paths of pictures and videos, sorted.
      left_out: what lies there and is not read.
    """

    text: str
    root: str
    files: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()

    def describe(self):
        """A line for each reason why something is not read."""
        lines = [f"images: {line}" for line in describe(self.left_out)]
        if any(is_video(path) for left in self.left_out for path in left.paths):
            lines.append(
                "images: videos in a folder are left alone; name one itself, --images=FILE"
            )
        return lines

    def count(self):
        """The number of pictures; of videos what they promise."""
        return sum(video.count_frames(x) if is_video(x) else 1 for x in self.files)

    def names(self):
        """{file: name of its predictions}: its path below the root without the ending, with it
        where two files differ in nothing else.
        """
        relative = {path: os.path.relpath(path, self.root) for path in self.files}
        names = {path: os.path.splitext(name)[0] for path, name in relative.items()}
        # again, for "a.jpg" beside "a.png" and "a.jpg.png"
        while len(counts := collections.Counter(names.values())) < len(names):
            names = {
                path: name if counts[name] == 1 else relative[path] for path, name in names.items()
            }
        return names

    def pictures(self, broken):
        """Every picture in order, frames of videos one by one.

        Args:
          broken: list that the error of a video without a frame is added to.
        """
        for path, name in self.names().items():
            file = os.path.relpath(path, self.root)
            if not is_video(path):
                yield Picture(file, name, path)
                continue
            try:
                for number, pixels in enumerate(video.frames(path)):
                    yield Picture(f"{file}#{number}", f"{name}_{number:06d}", path, pixels)
            except DataError as error:
                broken.append(str(error))


def is_video(path):
    """Whether a name ends as those of videos do."""
    return str(path).lower().endswith(video.ENDINGS)


def list_pictures(text, out):
    """Lists what --images names.

    Args:
      text: a folder, whose subfolders are read too; a pattern with *, ? or [; a picture or a video.
      out: folder of the predictions: whatever lies in it is no input.

    Raises:
      UserError: nothing is there, or nothing that can be read.
      DataError: a folder cannot be listed.
    """
    path, out = os.path.abspath(text), os.path.realpath(out)
    if os.path.realpath(path) == out:
        raise UserError(
            f"--out={text}: is the folder of --images, and what lies in --out is no input; name"
            " another"
        )
    if os.path.isdir(path):
        files, left_out = _below(path, out)
        if not files:
            raise UserError(
                f"--images={text}: no pictures ({', '.join(ENDINGS)}) in this folder or below it;"
                f" there: {what_is_there(path)}; name the folder that holds them"
            )
        return Listing(path, path, tuple(files), tuple(left_out))
    if os.path.exists(path):
        if not path.lower().endswith(ENDINGS + video.ENDINGS):
            raise UserError(
                f"--images={text}: neither a picture ({', '.join(ENDINGS)}) nor a video"
                f" ({', '.join(video.ENDINGS)}); name one, a folder or a pattern"
            )
        return Listing(path, os.path.dirname(path), (path,))
    if not glob.has_magic(path):
        raise UserError(
            f"--images={text}: no such file or folder; name a folder of pictures, a pattern such as"
            " 'photos/*.jpg', or a video"
        )
    files = [
        name
        for name in sorted(glob.glob(path, recursive=True))
        if name.lower().endswith(ENDINGS + video.ENDINGS)
        and not os.path.isdir(name)
        and not _is_below(name, out)
    ]
    if not files:
        raise UserError(
            f"--images={text}: no picture ({', '.join(ENDINGS)}) and no video has a name of this"
            " pattern; correct it, and put it in quotes so that the shell leaves it alone"
        )
    return Listing(
        path, os.path.commonpath([os.path.dirname(name) for name in files]), tuple(files)
    )


def _is_below(path, folder):
    return pathlib.Path(os.path.realpath(path)).is_relative_to(folder)


def _below(folder, out, above=()):
    """(pictures, what is left out) of a folder and its subfolders; a link back to a folder above is
    not followed.
    """
    real = os.path.realpath(folder)
    if real == out or real in above:
        return [], []
    found = scan(folder, ENDINGS)
    files, left_out = [os.path.join(folder, name) for name in found.files], list(found.left_out)
    for name in found.folders:
        more, unused = _below(os.path.join(folder, name), out, (*above, real))
        files, left_out = files + more, left_out + unused
    return files, left_out


def read_ahead(pictures: Iterable[Picture], read):
    """(picture, future of read(picture)) of each, in order; threads decode some of them ahead.

    Args:
      read: function of a Picture.
    """
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for picture in pictures:
            waiting.append((picture, pool.submit(read, picture)))
            if len(waiting) > threads * _AHEAD:
                yield waiting.popleft()
        yield from waiting
