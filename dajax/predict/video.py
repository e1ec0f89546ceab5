"""The frames of a video, by OpenCV or, where that is absent, imageio. Neither is a requirement of
dajax.
"""

import importlib
import math

import numpy as np

from dajax.errors import UserError
from data_pipeline.decode import describe_error
from data_pipeline.errors import DataError

# What people's cameras and editors write; whether a file can be decoded is its library's affair.
ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_INSTALL = "pip install opencv-python-headless"


def _library():
    """(name, module) of what decodes videos here.

    Raises:
      UserError: neither is installed.
    """
    for name in ("cv2", "imageio.v3"):
        try:
            return name, importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise UserError(
        f"a video needs OpenCV or imageio, and neither is installed: {_INSTALL} (or pip install"
        ' "imageio[pyav]")'
    )


def count_frames(path):
    """How many frames the head of a file promises, 0 where it promises nothing; an estimate, for
    the progress bar.

    Raises:
      UserError: nothing is installed that could read it.
    """
    name, library = _library()
    if name == "cv2":
        capture = library.VideoCapture(str(path))
        count = capture.get(library.CAP_PROP_FRAME_COUNT)
        capture.release()
    else:
        try:
            count = library.improps(path).n_images
        except Exception:  # of a broken file anything; `frames` says what is wrong with it
            count = 0
    return int(count) if count and math.isfinite(count) and count > 0 else 0


def frames(path):
    """Every frame of a video in order, uint8 [H, W, 3] RGB, upright.

    Raises:
      UserError: nothing is installed that could read it.
      DataError: the file cannot be opened, or ends before its first frame.
    """
    name, library = _library()
    number = 0
    for frame in (_of_opencv if name == "cv2" else _of_imageio)(library, path):
        number += 1
        yield frame
    if not number:
        raise DataError(
            f"{path}: no frame of this video can be decoded; replace or remove the file"
        )


def _of_opencv(cv2, path):
    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            is_there, frame = capture.read()
            if not is_there:  # the end, or where the file is broken: OpenCV does not tell
                return
            yield np.ascontiguousarray(frame[..., ::-1])  # OpenCV's are BGR
    finally:
        capture.release()


def _of_imageio(imageio, path):
    try:
        yield from imageio.imiter(path)
    # each of imageio's plugins raises its own, also for a plugin that is absent
    except Exception as error:
        raise DataError(
            f"{path}: cannot be decoded: {describe_error(error)}; where a plugin is missing,"
            f" {_INSTALL}; else replace or remove the file"
        ) from error
