"""The margins of a set's frames in which pseudo-labels do not count: what the rectification of
Cityscapes' pictures leaves at their borders, and the bonnet of the car.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from data_pipeline.errors import DataError


@dataclasses.dataclass(frozen=True)
class Margins:
    """Shares of a frame's height (top, bottom) and width (left, right), rounded to whole pixels of
    the frame as it is on disk.

    Of Cityscapes' frames of 2048x1024, DAFormer's 15 and 120 rows of a frame of half that size are
    30 / 1024 and 240 / 1024; HRDA and MIC add 30 / 2048 on the left and on the right
    (crop_pseudo_margins = [30, 240, 30, 30]).
    """

    top: float
    bottom: float
    left: float
    right: float

    def trusted(self, frame_hw: tuple[int, int]) -> np.ndarray:
        """uint8 [H, W]: 1 outside of the margins, 0 within them."""
        height, width = frame_hw
        trusted = np.zeros((height, width), np.uint8)
        rows = slice(round(self.top * height), height - round(self.bottom * height))
        columns = slice(round(self.left * width), width - round(self.right * width))
        trusted[rows, columns] = 1
        return trusted

    def check_crop(self, frame_hw: tuple[int, int], crop_hw: tuple[int, int], where: str) -> None:
        """Raises DataError where a crop can lie within one margin as a whole.

        Args:
          frame_hw: (height, width) that frames have when they are cropped.
          crop_hw: (height, width); of a frame that is not cropped its own.
          where: what messages call the margins.
        """
        for name, share, axis in (
            ("top", self.top, 0),
            ("bottom", self.bottom, 0),
            ("left", self.left, 1),
            ("right", self.right, 1),
        ):
            if share * frame_hw[axis] >= crop_hw[axis]:
                side = ("height", "width")[axis]
                raise DataError(
                    f"{where}: the margin {name} is {share:g} of a frame's {side}, which are"
                    f" {share * frame_hw[axis]:.0f} of {frame_hw[axis]} pixels, and the crop has"
                    f" {crop_hw[axis]}: no pseudo-label of such a crop would count; set a smaller"
                    " margin or a larger crop"
                )


NO_MARGINS = Margins(0.0, 0.0, 0.0, 0.0)  # every pixel of the frame is trusted


def from_config(values: Iterable[float], where: str) -> Margins | None:
    """Margins of four shares, (top, bottom, left, right); None for (), and where all are 0.

    Raises: DataError for another number of values, and shares that leave nothing.
    """
    shares = tuple(values)
    is_known = len(shares) in (0, 4) and all(
        isinstance(share, (int, float)) and 0 <= share < 1 for share in shares
    )
    if not is_known or sum(shares[:2]) >= 1 or sum(shares[2:]) >= 1:
        raise DataError(
            f"{where} is {shares}; expected the shares (top, bottom, left, right) of a frame, of"
            " which two opposite ones leave something between them, or () for none"
        )
    return Margins(*map(float, shares)) if any(shares) else None
