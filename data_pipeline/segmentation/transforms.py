"""What happens to an image and its label before a segmenter sees them: the description, and the
part that PIL and numpy do.

The order is fixed: colour jitter (if `before_geometry`), resize, crop, flip, colour jitter
(otherwise). Then `pipeline` does the rest on whole batches: channel order, division, mean and
standard deviation. Everything here is a deterministic function of an image, its label and uniform
random numbers.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from data_pipeline.appearance import Appearance, ColorJitter
from data_pipeline.errors import DataError
from data_pipeline.preprocess import checked_keys, pair_of
from data_pipeline.segmentation import crop_choice
from data_pipeline.segmentation.placing import (
    FIRST_CROP,
    Choice,
    Frame,
    check_crop,
    moved,
    rescaled_hw,
)
from data_pipeline.segmentation.resizes import RESIZES

CHANNELS = ("rgb", "bgr")
_KEYS = (
    "size",
    "resize",
    "image_scales",
    "shorter_edge",
    "scale_range",
    "flip",
    "color_jitter",
    "channels",
    "divisor",
    "mean",
    "std",
)
# Those that a recipe of the user's own need not have.
_FURTHER_KEYS = ("fit", "max_class_share", "pad")


@dataclasses.dataclass(frozen=True)
class SegTransform:
    """The steps for one set of images. Sizes are (height, width) in pixels.

    Without shorter_edge, scale_range and fit the whole frame is resized to size_hw, its aspect not
    kept. At most one of image_scales, shorter_edge, scale_range and fit is set.

    Attributes:
      size_hw: of the label that results, and of the image unless image_scales says otherwise.
      resize: one of resizes.RESIZES.
      image_scales: ((bound, factor), ...): resizes the IMAGE alone to factor * size_hw (cut to
        integers), for the first bound that exceeds the batch's random number. One factor a batch,
        so that a batch is one array. CLAN: ((0.3, 0.8), (0.7, 1.0), (1.0, 1.1)). () for none.
      shorter_edge: (low, high): resizes so that the shorter edge is a random integer of this range,
        both ends included, then crops at random to size_hw (PLCA). None for none.
      scale_range: (low, high): resizes by a random factor, then crops at random to size_hw (SPCL's
        self-training). None for none.
      fit: (height, width): resizes to the largest size within it that keeps the aspect, see
        resizes.fitting_hw, then crops at random to size_hw (DAFormer). None for none.
      max_class_share: a crop of a labelled image in which one class has this share of the labelled
        pixels is drawn again, see crop_choice (DAFormer 0.75); 1 or more for no such rule. An
        image without a label has its first crop.
      pad: whether an image that the resize leaves smaller than the crop gets black rows below and
        black columns on the right, without a label and without a pseudo-label that counts
        (VFM-UDA). False: it is refused.
      flip: mirrors half of the images.
      color_jitter: ColorJitter or None.
      channels: "rgb" or "bgr".
      divisor: 1 or 255.
      mean, std: of the divided values, in the order of `channels`.
    """

    size_hw: tuple[int, int]
    resize: str
    image_scales: tuple[tuple[float, float], ...]
    shorter_edge: tuple[int, int] | None
    scale_range: tuple[float, float] | None
    flip: bool
    color_jitter: ColorJitter | None
    channels: str
    divisor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: tuple[int, int] | None = None
    max_class_share: float = 1.0
    pad: bool = False

    def __post_init__(self):
        if self.resize not in RESIZES:
            raise DataError(f"transform.resize is {self.resize!r}; known: {', '.join(RESIZES)}")
        if self.channels not in CHANNELS:
            raise DataError(
                f"transform.channels is {self.channels!r}; known: {', '.join(CHANNELS)}"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or self.divisor <= 0:
            raise DataError(
                "transform.mean and transform.std need three values each; std and divisor must be"
                " above 0"
            )
        chosen = [
            name
            for name in ("image_scales", "shorter_edge", "scale_range", "fit")
            if getattr(self, name)
        ]
        if len(chosen) > 1:
            raise DataError(
                f"transform.{chosen[0]} and transform.{chosen[1]} exclude each other; set one of"
                " them"
            )
        if self.pad and not self.crops:
            raise DataError(
                "transform.pad is True, and nothing is cropped; set transform.fit, shorter_edge or"
                " scale_range, or pad to False"
            )
        if self.shorter_edge and self.shorter_edge[0] < min(self.size_hw) and not self.pad:
            raise DataError(
                f"transform.shorter_edge begins at {self.shorter_edge[0]}, the crop {self.size_hw}"
                f" needs {min(self.size_hw)} or more"
            )
        if self.max_class_share <= 0 or (self.max_class_share < 1 and not self.crops):
            raise DataError(
                f"transform.max_class_share is {self.max_class_share:g}; expected a share above 0"
                " of a crop's pixels, which needs transform.fit, shorter_edge or scale_range, or 1"
                " for any crop"
            )

    @property
    def num_uniforms(self) -> int:
        """Random numbers that one image consumes: resize and crop 3, flip 1, colour jitter 5, in
        this order.
        """
        of_jitter = ColorJitter.num_uniforms if self.color_jitter else 0
        return 3 * self.crops + int(self.flip) + of_jitter

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
        return bool(self.shorter_edge or self.scale_range or self.fit)

    def num_further_crops(self, is_wanted: bool) -> int:
        """Crops that a labelled image may need after its first, for which numbers of their own are
        drawn.

        Args:
          is_wanted: whether its crop should show a class.
        """
        return crop_choice.num_further(self.max_class_share, is_wanted) if self.crops else 0

    def for_evaluation(self) -> "SegTransform":
        """The same without randomness: the whole frame at size_hw."""
        return dataclasses.replace(
            self,
            image_scales=(),
            shorter_edge=None,
            scale_range=None,
            fit=None,
            max_class_share=1.0,
            pad=False,
            flip=False,
            color_jitter=None,
        )

    def check_input(self, image_hw: tuple[int, int]) -> None:
        """Raises DataError when an image of this size, at the smallest that it may be resized to,
        does not reach the crop, and is not padded.
        """
        if self.crops and not self.pad:
            check_crop(rescaled_hw(image_hw, np.float32(0), self), self.size_hw)

    def largest_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """The largest size that an image of this size may have when it is cropped; size_hw without
        a crop.
        """
        if not self.crops:
            return self.size_hw
        return rescaled_hw(image_hw, np.float32(1 - 2.0**-24), self)

    def whole_frame_hw(self, batch_uniform: float) -> tuple[int, int] | None:
        """The size that the resize brings a whole frame to, before anything else; None where the
        size of the frame, or its pixels, decide what comes first (a crop, jitter before it).
        """
        is_first = not (self.color_jitter and self.color_jitter.before_geometry)
        return None if self.crops or not is_first else self.image_hw(batch_uniform)

    def image_hw(self, batch_uniform: float) -> tuple[int, int]:
        """Size of the images of a batch, given its random number in [0, 1)."""
        for bound, factor in self.image_scales:
            if batch_uniform < bound:
                return int(factor * self.size_hw[0]), int(factor * self.size_hw[1])
        return self.size_hw


def from_config(config: Mapping, where: str = "config.data.transforms") -> SegTransform:
    """Builds a SegTransform from a mapping (a ConfigDict too) with exactly the keys of the class,
    `size` for size_hw; `fit`, () for none, `max_class_share` and `pad` may be left out.

    Raises: DataError for a missing or unknown key and for values that do not fit together.
    """
    values = checked_keys(config, _KEYS, where, optional=_FURTHER_KEYS)
    fit = tuple(values.get("fit") or ())
    if len(fit) not in (0, 2) or not all(isinstance(side, int) and side > 0 for side in fit):
        raise DataError(f"{where}.fit is {fit}; expected (height, width) in pixels, or () for none")
    jitter = values["color_jitter"]
    return SegTransform(
        size_hw=pair_of(values["size"]),
        resize=values["resize"],
        image_scales=tuple(
            (float(bound), float(factor)) for bound, factor in values["image_scales"]
        ),
        shorter_edge=values["shorter_edge"] and pair_of(values["shorter_edge"]),
        scale_range=values["scale_range"]
        and tuple(float(value) for value in values["scale_range"]),
        flip=bool(values["flip"]),
        color_jitter=jitter and ColorJitter.from_config(jitter, f"{where}.color_jitter"),
        channels=values["channels"],
        divisor=float(values["divisor"]),
        mean=tuple(float(value) for value in values["mean"]),
        std=tuple(float(value) for value in values["std"]),
        fit=fit or None,
        max_class_share=float(values.get("max_class_share", 1.0)),
        pad=bool(values.get("pad", False)),
    )


def apply(
    image: np.ndarray,
    label: np.ndarray | None,
    uniforms: np.ndarray,
    batch_uniform: float,
    transform: SegTransform,
) -> tuple[np.ndarray, np.ndarray | None]:
    """One image and its label through everything but the normalisation.

    Args:
      image: uint8 [H, W, 3] RGB.
      label: uint8 [H, W] train ids, or None.
      uniforms: float32 [transform.num_uniforms] in [0, 1).
      batch_uniform: one more, the same for the whole batch.
    Returns: uint8 [h, w, 3] RGB of transform.image_hw(batch_uniform), and uint8 [h', w'] of
      transform.size_hw or None.
    Raises: DataError for a crop larger than the resized image, naming both sizes.
    """
    frame = apply_to_frame(Frame(image, label), uniforms, batch_uniform, transform)
    return frame.image, frame.label


def apply_to_frame(
    frame: Frame,
    uniforms: np.ndarray,
    batch_uniform: float,
    transform: SegTransform,
    choice: Choice = FIRST_CROP,
) -> Frame:
    """`apply`, of all that lies on an image, with the crop that `choice` chooses."""
    jitter, of_jitter = transform.color_jitter, uniforms[-ColorJitter.num_uniforms :]
    if jitter and jitter.before_geometry:
        frame = frame._replace(image=jitter(frame.image, of_jitter))
    frame = moved(frame, uniforms, batch_uniform, transform, choice)
    if jitter and not jitter.before_geometry:
        frame = frame._replace(image=jitter(frame.image, of_jitter))
    return frame


def apply_two_views(
    frame: Frame,
    uniforms: np.ndarray,
    batch_uniform: float,
    transform: SegTransform,
    strong_view: Appearance,
    strong_uniforms: np.ndarray,
    choice: Choice = FIRST_CROP,
) -> tuple[Frame, np.ndarray]:
    """`apply_to_frame`, and a second view of the image in which everything lies at the same place.

    The second view shares resize, crop and flip, has strong_view in place of transform's colour
    jitter, and fits the same label.

    Args:
      strong_uniforms: float32 [Appearance.num_uniforms] in [0, 1). The others are
        `apply_to_frame`'s.
    Returns: what `apply_to_frame` returns, and the second view of its image, uint8 [h, w, 3].
    Raises: DataError as `apply`.
    """
    weak = apply_to_frame(frame, uniforms, batch_uniform, transform, choice)
    plain = weak.image
    if transform.color_jitter is not None:
        # with the label, which may choose the crop
        plain = moved(frame, uniforms, batch_uniform, transform, choice).image
    return weak, strong_view(plain, strong_uniforms)


def normalise(images: np.ndarray, transform: SegTransform) -> np.ndarray:
    """uint8 [..., 3] RGB -> float32 [..., 3]; what `pipeline` does with TensorFlow."""
    ordered = images[..., ::-1] if transform.channels == "bgr" else images
    divided = ordered.astype(np.float32) / np.float32(transform.divisor)
    return (divided - np.array(transform.mean, np.float32)) / np.array(transform.std, np.float32)


def apply_evaluation(images: Iterable[np.ndarray], transform: SegTransform) -> np.ndarray:
    """Resizes and normalises without TensorFlow, as the pipeline does at evaluation.

    Args:
      images: N images uint8 [H, W, 3] of any sizes.
      transform: one without randomness, see for_evaluation.
    Returns: float32 [N, h, w, 3].
    Raises: DataError for a random transform and for images of another type.
    """
    if transform != transform.for_evaluation():
        raise DataError("this transform is random; use transform.for_evaluation()")
    resized = []
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(
                f"an image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3]"
            )
        resized.append(apply(image, None, np.zeros(0, np.float32), 0.0, transform)[0])
    return normalise(np.stack(resized), transform)
