"""The part of the image transforms that TensorFlow does: a batched function of images and uniform
random numbers.

Because the random numbers are arguments, it gives the same result eagerly and inside tf.data.
"""

import numpy as np

from data_pipeline.classification.transforms import Affine, Transform
from data_pipeline.stream import tf


def warp_and_normalise(images: tf.Tensor, uniforms: tf.Tensor, transform: Transform) -> tf.Tensor:
    """Random affine map, then (images / 255 - mean) / std: uint8 [N, h, w, C] to float32 [N, h, w,
    C].

    Args:
      images: what `transforms.change_image` returned, as one array.
      uniforms: float32 [N, transform.num_uniforms], the numbers that it was given; the last six
        columns belong to the affine map.
    """
    images = tf.cast(images, tf.float32)
    if transform.affine is not None:
        images = _warp(images, uniforms[:, -6:], transform.affine)
    # Whole rows at once: three times as fast as subtracting and dividing along an axis of three
    # channels.
    num_images, height, width, channels = images.shape
    rows = tf.reshape(images, (-1, width * channels))
    mean, std = (
        np.tile(np.broadcast_to(np.array(values, np.float32), channels), width)
        for values in (transform.mean, transform.std)
    )  # [w*C] each
    return tf.reshape((rows / 255.0 - mean) / std, (num_images, height, width, channels))


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
