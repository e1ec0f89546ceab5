"""A class for each picture: predictions.csv, and on request a folder for each class.

predictions.csv           file, class, and a column with the probability of each class
by_class/<class>/<name>   the picture itself, or a link to it
"""

import csv
import io
import os
import shutil

import numpy as np
from PIL import Image

from dajax.errors import UserError
from dajax.predict.pictures import is_video

CSV, FOLDERS = "predictions.csv", "by_class"
_DIGITS = 6  # of a probability in the file, ours: float32 has seven


class ClassifierOutput:
    """What is written for the pictures of a classifier.

    Args:
      trained: TrainedClassifier.
      out: OutFolder.
      folders: None, "copy" or "link".
      batch_size: pictures at a time.
    """

    def __init__(self, trained, out, *, folders, batch_size):
        self._trained, self._out, self._folders = trained, out, folders
        self.batch_size = batch_size

    def check(self, listing):
        """Raises UserError where the pictures cannot be put into folders as asked."""
        if self._folders == "link" and any(map(is_video, listing.files)):
            raise UserError(
                "--folders=link: the frames of a video are no files to link to; use --folders=copy"
            )

    def read(self, picture):
        """What the network sees, float32 [h, w, C]; raises DataError for a broken file."""
        is_file = picture.pixels is None
        return self._trained.prepare(picture.path if is_file else Image.fromarray(picture.pixels))

    def is_done(self, record):
        """Whether all is there that this call asks for."""
        return self._folders is None or "sorted" in record

    def write(self, pictures, prepared):
        """Predicts some pictures, at most batch_size, and puts them into folders where asked.

        Returns:
          A dict for the record of each.
        """
        ((_, logits),) = self._trained.outputs(prepared, batch_size=self.batch_size)
        # float64, so that a row adds up to 1
        powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        records = []
        for picture, row in zip(pictures, probabilities, strict=True):
            record = {
                "class": self._trained.class_names[int(row.argmax())],
                # one string: a list of numbers takes ten times its memory
                "probabilities": " ".join(f"{x:.{_DIGITS}f}" for x in row),
            }
            if self._folders is not None:
                before = self._out.records.get(picture.file, {}).get("sorted")
                record["sorted"] = self._put(picture, record["class"], before)
            records.append(record)
        return records

    def finish(self, records):
        """Writes predictions.csv from the records of all pictures, in their order.

        Returns:
          Lines to say.
        """
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["file", "class", *self._trained.class_names])
        for record in records:
            rows.writerow([record["file"], record["class"], *record["probabilities"].split()])
        # a file name may hold bytes that are no UTF-8
        self._out.write(CSV, text.getvalue().encode(errors="surrogateescape"))
        counts = {name: 0 for name in self._trained.class_names}
        for record in records:
            counts[record["class"]] += 1
        found = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
        return [f"classes: {found}"] if found else []

    def _put(self, picture, class_name, before):
        """Copies or links a picture into the folder of its class, and takes away where it stood
        before, when its file was another: the path below --out.
        """
        folder = class_name.replace(os.sep, "_").strip(".") or "_"
        ending = ".png" if picture.pixels is not None else os.path.splitext(picture.path)[1]
        name = picture.name.removesuffix(ending) + ending
        relative = os.path.join(FOLDERS, folder, name)
        target = self._out.path / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(target.name + ".tmp")
        unfinished.unlink(missing_ok=True)
        if picture.pixels is not None:
            Image.fromarray(picture.pixels).save(unfinished, format="PNG")
        elif self._folders == "link":
            unfinished.symlink_to(os.path.abspath(picture.path))
        else:
            shutil.copyfile(picture.path, unfinished)
        os.replace(unfinished, target)
        if before is not None and before != relative:
            (self._out.path / before).unlink(missing_ok=True)
        return relative
