"""A class for each pixel: four PNG files for each picture, each kind in a folder of its own.

    color/NAME_color.png          the colours of the classes, RGB
    trainIds/NAME_trainIds.png    positions of the classes, 0..K-1, one channel of 8 bits
    labelIds/NAME_labelIds.png    ids of the data set's label files, one channel of 8 bits
    overlay/NAME_overlay.png      the colours over the picture, with a legend; for people

All but the overlay are of the picture's own size. Cityscapes' evaluation server wants regular label
ids, one channel, the image's size, and one *.png in the whole archive whose name begins with
<city>_<sequence>_<frame> (evalPixelLevelSemanticLabeling.py of cityscapesscripts): hence the folder
for each kind. labelIds is the one to pack.
"""

import concurrent.futures

import numpy as np

from dajax.engine import png_files
from dajax.errors import UserError
from dajax.ops.pictures import colored
from dajax.predict.legend import overlay

KINDS = ("color", "trainIds", "labelIds", "overlay")


class SegmenterOutput:
    """What is written for the pictures of a segmenter.

    Args:
      trained: TrainedSegmenter.
      out: OutFolder.
      space: LabelSpace of its classes.
      window: None or (height, width), see TrainedSegmenter.predict.
      batch_size: pictures, or windows of a picture, at a time.

    Raises:
      UserError: the classes of `space` are others.
    """

    def __init__(self, trained, out, *, space, window, batch_size):
        if tuple(space.class_names) != tuple(trained.class_names):
            raise UserError(
                f"{space.name}: its classes ({', '.join(space.class_names)}) are not those of the"
                f" model ({', '.join(trained.class_names)}); restore the file"
            )
        self._trained, self._out, self._window = trained, out, window
        self.batch_size = batch_size
        self._palette = space.palette
        self._ids = np.array([entry.id for entry in space.trained], np.uint8)

    def check(self, listing):
        """Any listing will do."""
        del listing

    def read(self, picture):
        """The pixels, uint8 [H, W, 3]; raises DataError for a broken file."""
        return picture.read()

    def is_done(self, record):
        """Whether all four files are there."""
        return all((self._out.path / file_of(kind, record["name"])).exists() for kind in KINDS)

    def write(self, pictures, pixels):
        """Predicts some pictures and writes their files.

        Returns:
          A dict for the record of each, empty.
        """
        maps = self._trained.predict(pixels, batch_size=self.batch_size, window=self._window)
        with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="encode") as pool:
            writes = [
                pool.submit(self._write, kind, picture.name, image, classes)
                for picture, image, classes in zip(pictures, pixels, maps, strict=True)
                for kind in KINDS
            ]
            for write in writes:
                write.result()
        return [{} for _ in pictures]

    def _write(self, kind, name, image, classes):
        drawn = {
            "color": lambda: colored(classes, self._palette),
            "trainIds": lambda: classes,
            "labelIds": lambda: self._ids[classes],
            "overlay": lambda: overlay(image, classes, self._palette, self._trained.class_names),
        }[kind]()
        self._out.write(file_of(kind, name), png_files.encoded(drawn))

    def finish(self, records):
        """Every file is there already."""
        del records
        return []


def file_of(kind, name):
    """The path of one of KINDS below --out; `name` is of a Picture."""
    return f"{kind}/{name}_{kind}.png"
