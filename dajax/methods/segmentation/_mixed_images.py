"""The images that cross_domain_mixing makes for its student, with their labels and weights: mixed
ones, and masked ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.methods.segmentation import _pairs
from dajax.methods.segmentation import _strong_view as strong_view
from dajax.ops import class_mix
from dajax.ops.block_mask import block_mask, grid_size
from dajax.parallel import total
from dajax.settings import SettingError


class Drawn(NamedTuple):
    """All that is random in a step, of this device's rows.

    Attributes:
      scores: float32 [N, K + 1], see class_mix.choose_half.
      mixed, masked: strong_view.Strong of the mixed and of the masked images.
      noise: float32 [N, rows, columns], see block_mask.
      key: of the passes' dropout.
      source, target: of draw_weak, of the images that are learnt from labels and of those that are
        pasted into; None where there is no weak view.
    """

    scores: jax.Array
    mixed: strong_view.Strong
    masked: strong_view.Strong
    noise: jax.Array
    key: jax.Array
    source: strong_view.Strong | None = None
    target: strong_view.Strong | None = None


def draw(rng, rows, size_hw, *, config, model):
    """Drawn for these rows of the whole batch, whatever the number of devices.

    Args:
      rows: int32 [N], places in the whole batch. size_hw: of the images.
    """
    of_scores, of_mixed, of_masked, of_noise, key = jax.random.split(rng, 5)
    weak = {}
    if config.weak_view.probability:
        keys = jax.random.split(jax.random.fold_in(rng, 0))
        weak = {
            name: strong_view.draw_weak(key, rows, config)
            for name, key in zip(("source", "target"), keys, strict=True)
        }

    def of_rows(key, shape):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
        return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)

    return Drawn(
        scores=of_rows(of_scores, (model.num_classes + 1,)),
        mixed=strong_view.draw(of_mixed, rows, config),
        masked=strong_view.draw(of_masked, rows, config, one_call=config.strong_for == "batch"),
        noise=of_rows(of_noise, mask_grid(size_hw, config=config, model=model)),
        key=key,
        **weak,
    )


def mask_grid(size_hw, *, config, model):
    """(rows, columns) of what is hidden or not: masked.block pixels of a side, or with 0 the tokens
    of the network.

    Raises:
      SettingError: 0, and the network has no tokens.
    """
    if config.masked.block:
        return grid_size(size_hw, config.masked.block)
    if not config.masked.weight:
        return 1, 1  # of noise that nobody reads
    if not hasattr(model, "token_grid"):
        raise SettingError(
            "masked.block",
            0,
            "hides tokens of a vision transformer, and config.model.backbone has none; set it to"
            " the pixels of a block's side",
        )
    return model.token_grid(size_hw)


def mixed_part(source, target, labels, weights, drawn, *, config, model, axis_name):
    """(a part with the mixed images and labels, their weights float32 [N, H, W])."""
    present = class_mix.classes_present(
        source["label"], source["mask"], num_classes=model.num_classes
    )
    if config.mix.classes_of == "batch":
        anywhere = total(present.any(0).astype(jnp.int32), axis_name) > 0
        present = jnp.broadcast_to(anywhere[None], present.shape)
    chosen = class_mix.choose_half(present, drawn.scores)
    pasted = class_mix.pixels_of(chosen, source["label"])
    below = strong_view.weak_view(target["image"], drawn.target, config)
    images = class_mix.paste(pasted, source["image"], below)
    part = {
        "image": strong_view.strong_view(images, drawn.mixed, config),
        "label": class_mix.paste(pasted, source["label"], labels),
        "mask": source["mask"] & target["mask"],
    }
    return part, class_mix.paste(pasted, jnp.ones_like(weights), weights)


def masked_part(source, target, labels, weights, drawn, rows, *, config):
    """(a part with the masked images and their labels, the weights float32 [N, H, W]).

    masked.images="both": every second row, from the first on, shows its source image with its label
    instead (MIC's mask_mode "separate", for batches of two).
    """
    part = {"image": target["image"], "label": labels, "mask": target["mask"]}
    if config.masked.images == "both":
        is_source = rows % 2 == 0
        everywhere = jnp.broadcast_to(is_source[:, None, None], labels.shape)
        part = {
            "image": class_mix.paste(everywhere, source["image"], part["image"]),
            "label": class_mix.paste(everywhere, source["label"], labels),
            "mask": jnp.where(is_source, source["mask"], target["mask"]),
        }
        weights = class_mix.paste(everywhere, jnp.ones_like(weights), weights)
    images = part["image"]
    if config.masked.strong_view:
        images = strong_view.strong_view(images, drawn.masked, config)
    if not config.masked.block:
        return part | {"image": images, "token_mask": drawn.noise <= config.masked.ratio}, weights
    stays = block_mask(drawn.noise, images.shape[1:3], ratio=config.masked.ratio)
    return part | {"image": jnp.where(stays[..., None], images, 0.0)}, weights


def check_sizes(source, target, config):
    """Raises UserError for images of two sizes, and for margins and blocks that do not fit them."""
    _pairs.check_one_size(
        source,
        target,
        "pixels of a source image and of its labels are pasted into a target image",
        "set size of source and target alike, without image_scales",
        of_source=("image", "label"),
    )
    height, width = target["image"].shape[1:3]
    ignored = {key: config[key] for key in ("ignore_top", "ignore_bottom")}
    if sum(ignored.values()) >= height:
        larger, smaller = sorted(ignored, key=ignored.get, reverse=True)
        raise SettingError(
            larger,
            ignored[larger],
            f"with {smaller}={ignored[smaller]} it leaves none of the {height} rows of a target"
            " image; set both smaller",
        )
    masked = config.masked
    if masked.weight and masked.block and not all(grid_size((height, width), masked.block)):
        raise SettingError(
            "masked.block",
            config.masked.block,
            f"no block of this size fits into an image of {height}x{width} pixels; set it smaller",
        )
