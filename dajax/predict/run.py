"""`--mode=predict`: picture after picture, from the newest checkpoint of a workdir to files."""

import os
import pathlib

from dajax import console
from dajax.engine.environment import use_compilation_cache
from dajax.errors import UserError
from dajax.label_free import LAST
from dajax.open_workdir import open_workdir
from dajax.predict.classifier import ClassifierOutput
from dajax.predict.out_folder import OutFolder, digest
from dajax.predict.pictures import list_pictures, read_ahead
from dajax.predict.segmenter import SegmenterOutput
from dajax.tasks.segmentation.domains import label_space
from data_pipeline.errors import DataError

# Of pictures that are decoded and wait for each other in a batch, ours: 32 frames of Cityscapes.
_BATCH_PIXELS = 2**26


def predict(
    workdir, images, out, *, stage=None, window=None, folders=None, runtime=None, select=LAST
):
    """Predicts every picture that is not done yet, and writes what the task's output is.

    Args:
      workdir: of a run.
      images: what --images names, see pictures.list_pictures.
      out: folder for the predictions.
      stage: name; None for the last one that has a checkpoint.
      window: None, or (height, width); of a segmenter alone.
      folders: None, "copy" or "link"; of a classifier alone.
      runtime: config.runtime, None for that of the run.
      select: which snapshot, see open_workdir.

    Returns:
      One line for each picture that cannot be used.

    Raises:
      UserError, DataError: a mistake that the user can mend.
    """
    trained = open_workdir(workdir, stage, select)
    task = trained.config.task
    if task == "classification" and window is not None:
        raise UserError("--window: is for segmentation, and this is a classifier; leave it out")
    if task == "segmentation" and folders is not None:
        raise UserError(
            f"--folders={folders}: is for classification, and this is a segmenter; leave it out"
        )
    runtime = trained.config.runtime if runtime is None else runtime
    use_compilation_cache(runtime.compilation_cache)
    listing = list_pictures(images, out)
    identity = {
        "task": task,
        "model": digest(trained),
        "stage": trained.stage,
        "step": trained.step,
        "images": listing.text,
        "window": None if window is None else list(window),
        "workdir": os.path.abspath(workdir),
        "class_names": list(trained.class_names),
    }
    total = listing.count()
    size = min(runtime.eval_batch_size, max(total, 1))
    with OutFolder(out, identity) as folder:
        if task == "classification":
            output = ClassifierOutput(trained, folder, folders=folders, batch_size=size)
        else:
            space = label_space(trained.config, pathlib.Path(workdir))
            output = SegmenterOutput(trained, folder, space=space, window=window, batch_size=size)
        output.check(listing)
        console.say(f"model: {workdir}, stage {trained.stage} at step {trained.step}")
        for line in listing.describe():
            console.say(line)
        return _Run(listing, folder, output, total).run()


class _Run:
    """One call: what is done, what is broken, what waits for its batch."""

    def __init__(self, listing, out, output, total):
        self.listing, self.out, self.output, self.total = listing, out, output, total
        # files: all in order; those that are done, now or before; those that were done before
        self.files, self.done, self.before = [], set(), 0
        self.broken, self.batch, self.bar = [], [], console.Counter("predict")

    def run(self):
        """See predict."""
        try:
            for picture, future in read_ahead(self._to_do(), self.output.read):
                self._take(picture, future)
            self._flush()
        finally:
            self.bar.close()
        records = [self.out.records[file] for file in self.files if file in self.done]
        lines = self.output.finish(records)
        before = f", {self.before} of them before" if self.before else ""
        console.say(f"predicted: {len(records)} pictures{before}; see {self.out.path}")
        for line in lines:
            console.say(line)
        return self.broken

    def _to_do(self):
        """The pictures that are not done, or were changed since."""
        for picture in self.listing.pictures(self.broken):
            self.files.append(picture.file)
            record = self.out.records.get(picture.file)
            if record is not None and self._is_done(picture, record):
                self.done.add(picture.file)
                self.before += 1
                continue
            yield picture

    def _is_done(self, picture, record):
        same = record["stamp"] == list(picture.stamp()) and record["name"] == picture.name
        return same and self.output.is_done(record)

    def _take(self, picture, future):
        """Puts a decoded picture into the batch, and predicts that once it is full."""
        try:
            self.batch.append((picture, future.result()))
        except DataError as error:
            text = str(error)  # what a transform complains of names no file
            self.broken.append(text if picture.path in text else f"{picture.path}: {text}")
        pixels = sum(array.shape[0] * array.shape[1] for _, array in self.batch)
        if len(self.batch) == self.output.batch_size or pixels > _BATCH_PIXELS:
            self._flush()
        self._show()

    def _flush(self):
        if self.batch:
            pictures, read = zip(*self.batch, strict=True)
            records = self.output.write(pictures, list(read))
            common = [{"file": x.file, "name": x.name, "stamp": list(x.stamp())} for x in pictures]
            self.out.add([a | b for a, b in zip(common, records, strict=True)])
            self.done |= {picture.file for picture in pictures}
            self.batch = []
        self._show()

    def _show(self):
        count = len(self.done) + len(self.broken)
        self.bar.update(count, max(self.total, count))
