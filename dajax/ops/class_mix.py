"""ClassMix (Olsson, Tranheden, Pinto and Svensson, WACV 2021) across domains, as DACS has it: the
pixels of half of the classes of a source image are pasted into a target image.

Label maps are int32, 255 (or any negative number) for pixels without a class. These pixels are a
class of their own here, number K of K + 1, as in the released code: it may be drawn, and then the
unlabelled pixels of the source are pasted, too.
"""

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.typing import Array, Bool, Float, Int, Shaped


def classes_present(
    labels: Int[Array, "N H W"], mask: Bool[Array, " N"], *, num_classes: int
) -> Bool[Array, "N C"]:
    """Which classes each label map has.

    Args:
      labels: int32 [N, H, W].
      mask: bool [N], rows that count; the others have no class.
      num_classes: K.

    Returns:
      bool [N, K + 1], the last for pixels without a class.
    """
    # a class at a time: all of them at once would hold K + 1 maps
    index = _index(labels, num_classes)
    present = [(index == number).any((1, 2)) for number in range(num_classes + 1)]
    return jnp.stack(present, 1) & mask[:, None]


def choose_half(present: Bool[Array, "N C"], scores: Float[Array, "N C"]) -> Bool[Array, "N C"]:
    """ceil(n / 2) of the n classes that are present, those with the greatest scores.

    With uniform random scores they are drawn without replacement, as by the np.random.choice of
    the released code (`get_class_masks` in mmseg/models/utils/dacs_transforms.py of DAFormer;
    `trainUDA.py` of DACS).

    Args:
      present: bool [N, K + 1].
      scores: float32 [N, K + 1], at least 0; of two equal ones the first wins.

    Returns:
      bool [N, K + 1].
    """
    count = (present.sum(1) + 1) // 2
    order = jnp.argsort(jnp.where(present, -scores, jnp.inf), axis=1, stable=True)
    rank = jnp.argsort(order, axis=1)  # 0 for the greatest score
    return present & (rank < count[:, None])


def pixels_of(chosen: Bool[Array, "N C"], labels: Int[Array, "N H W"]) -> Bool[Array, "N H W"]:
    """bool [N, H, W]: the pixels of the chosen classes.

    Args:
      chosen: bool [N, K + 1].
      labels: int32 [N, H, W].
    """
    index = _index(labels, chosen.shape[1] - 1)
    return jax.vmap(lambda of_row, at: of_row[at])(chosen, index)


def paste(
    pasted: Bool[Array, "N H W"],
    source: Shaped[Array, "N H W *channels"],
    target: Shaped[Array, "N H W *channels"],
) -> Shaped[Array, "N H W *channels"]:
    """The source where `pasted`, else the target: images, labels and weights alike."""
    at = pasted.reshape(pasted.shape + (1,) * (source.ndim - pasted.ndim))
    return jnp.where(jnp.broadcast_to(at, source.shape), source, target)


def _index(labels, num_classes):
    """int32, K for pixels without a class."""
    return jnp.where((labels < 0) | (labels == IGNORED), num_classes, labels)
