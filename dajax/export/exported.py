"""A StableHLO file of `--mode=export`, opened without its workdir, its recipe and TensorFlow."""

import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from dajax.engine import json_files
from dajax.errors import UserError
from dajax.export.contract import VERSION
from dajax.export.stablehlo import CONTRACT, PROGRAM
from dajax.ops.resize import resize_bilinear
from data_pipeline.given import as_list, as_pixels, check_batch_size
from data_pipeline.segmentation.resizes import resize_image

_WANTED = "pass the --workdir of a run, or a file of --mode=export --format=stablehlo"


class Exported:
    """A network in a file. What it predicts with is in the subclasses, one a task.

    Attributes:
      contract: dict, see export.contract.describe.
      class_names: K names.
      stage, step: of the run that it comes from.
    """

    def __init__(self, contract, call):
        self.contract = contract
        self.class_names = tuple(contract["class_names"])
        self.stage, self.step = contract["stage"], contract["step"]
        self._call, self._compiled = call, {}

    def outputs(self, images, names=None):
        """What the file's program gives for pictures of one size; it is compiled once a shape.

        Args:
          images: uint8 [N, H, W, C].
          names: of the outputs, for fewer than all.

        Returns:
          {name: numpy array}, see contract["outputs"].

        Raises:
          UserError: pictures of another type or size than the file takes.
        """
        sizes = {np.shape(image) for image in images}
        if len(sizes) > 1:
            raise UserError(
                f"pictures of {len(sizes)} sizes: a call takes those of one size; predict takes any"
            )
        images = np.asarray(images)
        for image in images[:1]:
            self._check(image)
        names = tuple(names or self.contract["outputs"])
        if names not in self._compiled:

            def chosen(images):
                found = self._call(images)
                return {name: found[name] for name in names}

            self._compiled[names] = jax.jit(chosen)
        return jax.tree.map(np.asarray, self._compiled[names](images))

    def _rows(self, name, images, batch_size):
        """A row of the output `name` for each picture; all have one size."""
        check_batch_size(batch_size)
        for start in range(0, len(images), batch_size):
            batch = np.stack(images[start : start + batch_size])
            # one shape, one compilation
            padded = np.pad(batch, ((0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)))
            yield from self.outputs(padded, (name,))[name][: len(batch)]

    def _same_size(self, images):
        """The pictures, brought to the size that the program resizes to where they have several:
        each size would be a compilation. There the program's own resize changes nothing.
        """
        for image in images:
            self._check(image)
        shapes = {image.shape for image in images}
        inside = self.contract["preprocessing"]
        if len(shapes) < 2:
            return images
        if inside["resize_hw"] is None:
            raise UserError(
                f"pictures of {len(shapes)} sizes: this network resizes none; pass those of one"
                " size at a time"
            )
        return [resize_image(x, inside["resize_hw"], inside["resample"]) for x in images]

    def _pixels(self, pictures):
        """Pictures as `predict` takes them -> list of uint8 [H, W, C]."""
        channels = self.contract["input"]["shape"][3]
        return [as_pixels(picture, channels) for picture in as_list(pictures)]

    def _check(self, image):
        """Raises UserError for a picture that the program does not take."""
        _, height, width, channels = self.contract["input"]["shape"]
        least = self.contract["input"]["least_hw"]
        wanted = f"uint8 [{height or 'height'}, {width or 'width'}, {channels}]"
        found = f"a picture is {image.dtype} {list(image.shape)}"
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
            raise UserError(f"{found}; this file takes {wanted}")
        if height not in (None, image.shape[0]) or width not in (None, image.shape[1]):
            raise UserError(f"{found}; this file takes {wanted}")
        if image.shape[0] < least[0] or image.shape[1] < least[1]:
            raise UserError(f"{found}; this file takes pictures of {least[0]}x{least[1]} or more")


class ExportedClassifier(Exported):
    """A classifier: one class a picture."""

    def predict(self, images, *, batch_size=64):
        """Class of each picture, as dajax.trained.TrainedClassifier.predict.

        Args:
          images: uint8 [N, H, W, C], or a list of N paths, PIL images or uint8 [H, W, C] of any
            sizes; or one path or PIL image.
          batch_size: pictures at a time.

        Returns:
          int [N] positions in `class_names`.
        """
        return self.logits(images, batch_size=batch_size).argmax(-1)

    def logits(self, images, *, batch_size=64):
        """Float32 [N, K]; arguments as `predict`."""
        images = self._same_size(self._pixels(images))
        return np.stack(list(self._rows("logits", images, batch_size)))


class ExportedSegmenter(Exported):
    """A segmenter: one class a pixel."""

    def predict(self, images, *, batch_size=4):
        """Class of every pixel, as dajax.trained.TrainedSegmenter.predict.

        Args:
          images: uint8 [N, H, W, 3], or a list of N paths, PIL images or uint8 [H, W, 3] of any
            sizes; or one path or PIL image.
          batch_size: pictures at a time.

        Returns:
          List of N uint8 [H, W], positions in `class_names`.
        """
        images = self._pixels(images)
        same = self._same_size(images)
        if same is images:
            return list(self._rows("classes", images, batch_size))
        align_corners = self.contract["preprocessing"]["align_corners"]
        scores = self._rows("logits", same, batch_size)
        resized = (
            resize_bilinear(jnp.asarray(row)[None], image.shape[:2], align_corners=align_corners)
            for row, image in zip(scores, images, strict=True)
        )
        return [np.asarray(rows[0].argmax(-1).astype(jnp.uint8)) for rows in resized]


_KINDS = {"classification": ExportedClassifier, "segmentation": ExportedSegmenter}


def open_file(path):
    """Opens a file that `--mode=export --format=stablehlo` has written.

    Raises:
      UserError: another kind of file, a damaged one, or one of another version of dajax or JAX.
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            contract = json_files.parse(archive.read(CONTRACT), keys=("contract",))
            program = bytearray(archive.read(PROGRAM))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path}: is no exported StableHLO file ({error}); {_WANTED}") from error
    if contract["contract"] != VERSION:
        raise UserError(
            f"{path}: has contract {contract['contract']}, this dajax reads {VERSION}; export it"
            " again, or open it with the dajax that wrote it"
        )
    try:
        exported = export.deserialize(program)
    except ValueError as error:
        raise UserError(
            f"{path}: JAX {jax.__version__} cannot read a program of JAX {contract['jax']}"
            f" ({error}); export it again"
        ) from error
    return _KINDS[contract["task"]](contract, exported.call)
