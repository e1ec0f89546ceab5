"""The part of the image transforms that TensorFlow does: a batched function of images and uniform
random numbers.

Because the random numbers are arguments, it gives the same result eagerly and inside tf.data.
"""

import numpy as np

from data_pipeline.classification.transforms import Transform
from data_pipeline.classification.view_parts import CROP_TRIES, Affine, Erase
from data_pipeline.stream import tf


def warp_and_normalise(images: tf.Tensor, uniforms: tf.Tensor, transform: Transform) -> tf.Tensor:
    """Random affine map, inversion, (images / 255 - mean) / std, erasing: uint8 [N, h, w, C] to
    float32 [N, h, w, C].

    Args:
      images: what `transforms.change_image` returned, as one array.
      uniforms: float32 [N, transform.num_uniforms], the numbers that it was given.
    """
    images, first = tf.cast(images, tf.float32), transform.num_change_uniforms
    if transform.affine is not None:
        images = _warp(images, uniforms[:, first : first + 6], transform.affine)
    first += transform.num_affine_uniforms
    if transform.invert:
        is_inverted = uniforms[:, first, None, None, None] < transform.invert
        images = tf.where(is_inverted, 255.0 - images, images)
        first += 1
    images = _normalise(images, transform)
    if transform.erase is not None:
        images *= _not_erased(images, uniforms[:, first:], transform.erase)
    return images


def _normalise(images, transform):
    # Whole rows at once: three times as fast as subtracting and dividing along an axis of three
    # channels.
    num_images, height, width, channels = images.shape
    rows = tf.reshape(images, (-1, width * channels))
    mean, std = (
        np.tile(np.broadcast_to(np.array(values, np.float32), channels), width)
        for values in (transform.mean, transform.std)
    )  # [w*C] each
    return tf.reshape((rows / 255.0 - mean) / std, (num_images, height, width, channels))


def _not_erased(images, uniforms, erase: Erase):
    """0 in a random rectangle of some images, 1 elsewhere: float32 [N, h, w, 1] (torchvision,
    RandomErasing.get_params).

    Of each image the first of ten drawn sizes that is smaller than it; where none is, nothing is
    erased.
    """
    height, width = images.shape[1:3]
    (low, high), (flattest, tallest) = erase.area, erase.ratio
    tries = tf.reshape(uniforms[:, 3 : Erase.num_uniforms], (-1, CROP_TRIES, 2))  # [N, tries, 2]
    area = height * width * (low + tries[:, :, 0] * (high - low))
    ratio = flattest * (tallest / flattest) ** tries[:, :, 1]
    heights, widths = tf.round(tf.sqrt(area * ratio)), tf.round(tf.sqrt(area / ratio))
    fits = (heights < height) & (widths < width)
    chosen = tf.argmax(tf.cast(fits, tf.int32), axis=1)  # the first that fits
    part_height, part_width = (
        tf.gather(sizes, chosen, batch_dims=1) for sizes in (heights, widths)
    )  # [N] each
    top = tf.floor(uniforms[:, 1] * (height - part_height + 1))
    left = tf.floor(uniforms[:, 2] * (width - part_width + 1))
    is_erased = (uniforms[:, 0] < erase.probability) & tf.reduce_any(fits, axis=1)
    rows, columns = tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32)
    in_rows = (rows >= top[:, None]) & (rows < (top + part_height)[:, None])  # [N, h]
    in_columns = (columns >= left[:, None]) & (columns < (left + part_width)[:, None])  # [N, w]
    inside = in_rows[:, :, None] & in_columns[:, None, :] & is_erased[:, None, None]
    return 1.0 - tf.cast(inside, tf.float32)[..., None]


def _warp(images, uniforms, affine: Affine):
    """Applies x -> M (x - centre) + centre + shift with M = rotation * shear * scale; bilinear,
    black outside.
    """
    signed = 2.0 * uniforms - 1.0  # [N, 6]
    angle, shear = signed[:, 0] * affine.rotate_rad, signed[:, 1] * affine.shear
    scale_x, scale_y = 1.0 + signed[:, 2] * affine.scale, 1.0 + signed[:, 3] * affine.scale
    shift_x, shift_y = signed[:, 4] * affine.shift_px, signed[:, 5] * affine.shift_px
    cos, sin = tf.cos(angle), tf.sin(angle)
    # The op wants the inverse map, output to input: M^-1 = scale^-1 * shear^-1 * rotation^-1.
    xx, xy = (cos + shear * sin) / scale_x, (sin - shear * cos) / scale_x
    yx, yy = -sin / scale_y, cos / scale_y
    height, width = images.shape[1], images.shape[2]
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    from_x, from_y = centre_x + shift_x, centre_y + shift_y
    zero = tf.zeros_like(xx)
    to_x = centre_x - xx * from_x - xy * from_y
    to_y = centre_y - yx * from_x - yy * from_y
    inverse_map = tf.stack([xx, xy, to_x, yx, yy, to_y, zero, zero], axis=1)  # [N, 8]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=inverse_map,
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
