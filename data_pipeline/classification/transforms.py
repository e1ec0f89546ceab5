"""What happens to an image before a network sees it: the description, and the part that PIL and
numpy do.

The order is fixed: resize, crop, flip, appearance, random affine map, inversion, scaling to mean
and standard deviation, erasing. The first four are here, as deterministic functions of an image and
uniform random numbers. The others are cheapest on a whole batch and are in `warp`.
`apply_evaluation` does everything that is not random without TensorFlow, for prediction.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from data_pipeline.appearance import Appearance
from data_pipeline.classification.view_parts import (
    CROP_TRIES,
    Affine,
    Erase,
    ResizedCrop,
    resized_crop_box,
)
from data_pipeline.errors import DataError
from data_pipeline.preprocess import checked_keys, pair_of, resize, two_numbers


@dataclasses.dataclass(frozen=True)
class Transform:
    """The steps for one set of images. Sizes are (height, width) in pixels.

    Attributes:
      size_hw: of the result.
      mean, std: for values in 0..1, one for each channel or one for all.
      resize_hw: every image is first brought to exactly this size, aspect not kept; None leaves it.
      crop: "random", "center" or None, to size_hw, or a ResizedCrop.
      flip: mirrors half of the images.
      affine: Affine or None.
      appearance: Appearance (colour jitter and blur) or None.
      invert: share of the images that become their negative, 0..1.
      erase: Erase or None.
    """

    size_hw: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_hw: tuple[int, int] | None = None
    crop: str | ResizedCrop | None = None
    flip: bool = False
    affine: Affine | None = None
    appearance: Appearance | None = None
    invert: float = 0.0
    erase: Erase | None = None

    def __post_init__(self):
        if not 0 <= self.invert <= 1:
            raise DataError(f"transform.invert is {self.invert:g}; expected a share, 0..1")
        if not isinstance(self.crop, ResizedCrop) and self.crop not in (None, "random", "center"):
            raise DataError(
                f"transform.crop is {self.crop!r}; known: 'random', 'center', None, or scale and"
                " ratio"
            )
        if self.resize_hw is not None:
            self.check_input(self.resize_hw, "transform.resize")
        if not self.std or min(self.std) <= 0:
            raise DataError(f"transform.std is {self.std}; expected values above 0")

    @property
    def num_uniforms(self) -> int:
        """Random numbers that one image consumes: crop, flip 1, appearance 8, affine 6, invert 1,
        erase 23, in this order.
        """
        of_erase = 0 if self.erase is None else Erase.num_uniforms
        return self.num_change_uniforms + self.num_affine_uniforms + (self.invert > 0) + of_erase

    @property
    def num_change_uniforms(self) -> int:
        """Those of `change_image`."""
        of_appearance = 0 if self.appearance is None else Appearance.num_uniforms
        return self.num_crop_uniforms + int(self.flip) + of_appearance

    @property
    def num_affine_uniforms(self) -> int:
        """Those of the affine map."""
        return 6 * (self.affine is not None)

    @property
    def num_crop_uniforms(self) -> int:
        """Those of the crop: 2 for where a random one lies, and 2 for each try at the size of a
        resized one.
        """
        return (
            2 + 2 * CROP_TRIES
            if isinstance(self.crop, ResizedCrop)
            else 2 * (self.crop == "random")
        )

    def for_evaluation(self) -> "Transform":
        """The same without randomness: a centre crop in place of a random one, no flip, no change
        of appearance, no affine map, nothing inverted or erased.
        """
        return dataclasses.replace(
            self,
            crop=self.crop and "center",
            flip=False,
            affine=None,
            appearance=None,
            invert=0.0,
            erase=None,
        )

    @property
    def changes_pixels(self) -> bool:
        """Whether `change_image` does anything at all."""
        steps = (self.resize_hw, self.crop, self.appearance)
        return self.flip or any(step is not None for step in steps)

    def check_input(self, image_hw: tuple[int, int], what: str) -> None:
        """Raises DataError when images of this size, once resized, cannot give size_hw."""
        height, width = self.size_hw
        found = f"{what} is {image_hw[0]}x{image_hw[1]}"
        if isinstance(self.crop, ResizedCrop):  # of an image of any size
            return
        if self.crop is None and tuple(image_hw) != (height, width):
            raise DataError(
                f"{found} and transform.size {height}x{width}; make them equal, or set"
                " transform.crop"
            )
        if self.crop is not None and (image_hw[0] < height or image_hw[1] < width):
            raise DataError(
                f"{found}, smaller than the crop {height}x{width}; set a larger transform.resize"
            )

    def check_channels(self, channels: int, what: str) -> None:
        """Raises DataError when mean or std are not for images of so many channels."""
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise DataError(
                f"{what} has {channels} channels, transform.mean {len(self.mean)} values and std"
                f" {len(self.std)}; give 1 or {channels} of each"
            )


def check_set(images, transform: Transform, what: str) -> None:
    """Raises DataError when a transform cannot work on an ImageSet, whichever of its images come;
    `what` names the set.
    """
    transform.check_channels(images.channels, what)
    if images.images is not None and transform.resize_hw is None:
        transform.check_input(images.images.shape[1:3], f"{what}: the image size")
    if images.images is None and transform.resize_hw is None and transform.crop is None:
        raise DataError(
            f"{what}: {images.kind} come in any size; set transform.resize or transform.crop"
        )


def from_config(config: Mapping, where: str = "transform") -> Transform:
    """Builds a Transform from a mapping (a ConfigDict too).

    Args:
      config: with the keys

        size            int or (height, width)
        resize          the same, or None
        crop            "random", "center", None, or {scale, ratio}, two numbers each, see
                        ResizedCrop
        flip            bool
        affine          None or {rotate_rad, shear, scale, shift_px}, see Affine; all 0 is None
        mean, std       sequences of floats

        and those that may be left out:

        appearance      None, or see Appearance.from_config; probabilities of 0 are None
        invert          share of the images
        erase           None or {probability, area, ratio}, see Erase; probability 0 is None
      where: what messages call the mapping.
    Raises: DataError for a missing or unknown key and for values that do not fit together.
    """
    names = ("size", "resize", "crop", "flip", "affine", "mean", "std")
    values = checked_keys(config, names, where, optional=("appearance", "invert", "erase"))
    affine, crop, appearance = values["affine"], values["crop"], values.get("appearance")
    if isinstance(crop, Mapping) or hasattr(crop, "items"):  # a ConfigDict is no Mapping
        bounds = checked_keys(crop, ("scale", "ratio"), f"{where}.crop")
        crop = ResizedCrop(
            **{name: two_numbers(pair, f"{where}.crop.{name}") for name, pair in bounds.items()}
        )
    if affine is not None:
        ranges = tuple(field.name for field in dataclasses.fields(Affine))
        affine = checked_keys(affine, ranges, f"{where}.affine")
        affine = Affine(**{name: float(value) for name, value in affine.items()})
    if appearance is not None:
        appearance = Appearance.from_config(appearance, f"{where}.appearance")
    return Transform(
        size_hw=pair_of(values["size"]),
        resize_hw=None if values["resize"] is None else pair_of(values["resize"]),
        crop=crop,
        flip=bool(values["flip"]),
        # What draws nothing is left out: it would consume random numbers.
        affine=affine if affine and any(dataclasses.astuple(affine)) else None,
        appearance=appearance if appearance and appearance.changes_images else None,
        invert=float(values.get("invert", 0.0)),
        erase=_erase(values.get("erase"), f"{where}.erase"),
        mean=tuple(float(v) for v in values["mean"]),
        std=tuple(float(v) for v in values["std"]),
    )


def _erase(config, where) -> Erase | None:
    if config is None:
        return None
    values = checked_keys(config, tuple(field.name for field in dataclasses.fields(Erase)), where)
    erase = Erase(
        float(values["probability"]),
        area=two_numbers(values["area"], f"{where}.area"),
        ratio=two_numbers(values["ratio"], f"{where}.ratio"),
    )
    return erase if erase.probability else None


def apply_evaluation(images: np.ndarray | Iterable[np.ndarray], transform: Transform) -> np.ndarray:
    """Resizes, centre-crops and normalises without TensorFlow, as the pipeline does at evaluation.

    Args:
      images: uint8 [N, H, W, C], or N images uint8 [H, W, C] of any sizes; C is 1 or 3.
      transform: one without randomness, see Transform.for_evaluation.
    Returns: float32 [N, h, w, C].
    Raises: DataError for a random transform, images of another type, and images that do not reach
      the crop.
    """
    if transform.num_uniforms:
        raise DataError("this transform is random; use transform.for_evaluation()")
    cropped = [crop_and_flip(image, np.zeros(0, np.float32), transform) for image in images]
    if not cropped:
        raise DataError("no images given; expected at least one, uint8 [H, W, C]")
    scaled = np.stack(cropped).astype(np.float32) / np.float32(255)
    return (scaled - np.array(transform.mean, np.float32)) / np.array(transform.std, np.float32)


def change_image(image: np.ndarray, uniforms: np.ndarray, transform: Transform) -> np.ndarray:
    """All that is done to one image before the affine map: resize, then `change_resized`.

    Args, returns and raises as crop_and_flip.
    """
    return change_resized(_resized(image, transform), uniforms, transform)


def change_resized(image: np.ndarray, uniforms: np.ndarray, transform: Transform) -> np.ndarray:
    """What is random of `change_image`: crop, flip, appearance. The image, of transform.resize_hw
    where there is one, is not changed in place; the result may be a view of it.
    """
    changed = _crop_and_flip_resized(image, uniforms, transform)
    if transform.appearance is None:
        return changed
    first = transform.num_crop_uniforms + int(transform.flip)
    return transform.appearance(changed, uniforms[first : first + Appearance.num_uniforms])


def crop_and_flip(image: np.ndarray, uniforms: np.ndarray, transform: Transform) -> np.ndarray:
    """Resizes, crops and mirrors one image: uint8 [H, W, C] and float32 [transform.num_uniforms] to
    uint8 [h, w, C].

    Raises: DataError for an image of another type, and one smaller than the crop, naming both
    sizes.
    """
    return _crop_and_flip_resized(_resized(image, transform), uniforms, transform)


def _resized(image, transform):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise DataError(
            f"an image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 1 or 3]"
        )
    transform.check_channels(image.shape[2], "an image")
    return image if transform.resize_hw is None else resize(image, transform.resize_hw)


def _crop_and_flip_resized(image, uniforms, transform):
    transform.check_input(image.shape[:2], "an image")
    image = _crop(image, uniforms, transform)
    is_mirrored = transform.flip and uniforms[transform.num_crop_uniforms] < 0.5
    return image[:, ::-1] if is_mirrored else image


def _crop(image, uniforms, transform):
    """The part of the image that the transform takes: uint8 [size_hw, C]."""
    if isinstance(transform.crop, ResizedCrop):
        top, left, height, width = resized_crop_box(image.shape[:2], uniforms, transform.crop)
        part = image[top : top + height, left : left + width]
        return resize(part, transform.size_hw, Image.Resampling.BILINEAR)  # torchvision's default
    height, width = transform.size_hw
    spare_height, spare_width = image.shape[0] - height, image.shape[1] - width
    if transform.crop == "random":
        top, left = int(uniforms[0] * (spare_height + 1)), int(uniforms[1] * (spare_width + 1))
    else:  # Python rounds halves to the even number, as torchvision's CenterCrop does
        top, left = round(spare_height / 2), round(spare_width / 2)
    return image[top : top + height, left : left + width]
