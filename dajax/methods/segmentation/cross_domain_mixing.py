"""Self-training with a mean teacher and images mixed across domains: DACS (Tranheden, Olsson, Pinto
and Svensson, WACV 2021), DAFormer (Hoyer, Dai and Van Gool, CVPR 2022) and MIC (Hoyer, Dai, Wang
and Van Gool, CVPR 2023) are settings of this one method.

    CE(source) + feature_distance.weight * FD(source)
        + mix.weight * w CE(strong(mixed image), mixed label)
        + masked.weight * w CE(mask * strong(target), pseudo-label)

The teacher, a moving average of the student, labels the target images. Half of the classes of a
source image are pasted into the target image of the same row, labels and weights with them
(ops/class_mix.py). Pasted pixels weigh 1, the others w, the share of the batch's pixels that the
teacher is sure of (ops/teacher_labels.py). A strong view is jittered and blurred
(_strong_view.py). FD draws features of things to those of the encoder that the stage began with
(losses/feature_distance.py).

Every term has a pass of its own, one after the other, each with its own batch statistics; the
gradients add up to one step. A weight of 0 leaves the pass out. The means of CE are over ALL
pixels, those without a label included, whose loss is 0 (mmseg's `reduction="mean"`): an image half
void has half the loss. source_mean="valid" has DACS's mean over labelled pixels for the source.

Passes of the teacher are in training mode, without dropout: batch statistics of the target
normalise them. They move the teacher's own running statistics, which predict_with="teacher" reads.
As published the student predicts; its running statistics are those of source, mixed and masked
images, and it never sees a clean target image. statistics="target" moves them by one further pass
of such images instead, without a gradient.

Paper against code, with the option that chooses:

  mix.classes_of        "batch", DAFormer's code: half of the classes of the whole batch, drawn anew
                        for each image. "image", DACS's code and all papers: of each image's own.
  teacher.begins_with   "initial", DAFormer: the average begins with the network that the stage
                        begins with. "first_update", DACS: with the network after the first step.
  weight_of             "batch": w is of the whole batch. "device": every device has its own, as the
                        released code has with several GPUs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.errors import UserError
from dajax.losses.feature_distance import cell_labels, feature_distance, is_any_of
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import _strong_view as strong_view
from dajax.models.apply import forward, forward_train, split_rng
from dajax.ops import class_mix
from dajax.ops import teacher_labels as labelling
from dajax.ops.block_mask import block_mask, grid_size
from dajax.ops.moving_average import moving_average, warmed_up
from dajax.parallel import masked_mean, row_numbers, total
from dajax.settings import SettingError, choice
from dajax.state import TEACHER

TASK = "segmentation"
MOVES_TEACHER = True
FROZEN = "frozen_encoder"  # in TrainState.extra
CHOICES = {
    "mix.classes_of": ("batch", "image"),
    "teacher.begins_with": ("initial", "first_update"),
    "weight_of": ("batch", "device"),
    "source_mean": ("all", "valid"),
    "statistics": ("passes", "target"),
    "masked.images": ("target", "both"),
}


def init(rng, images, *, config, model, **_):
    """See interface.py. `at_start` adds what is kept of the weights.

    Raises:
      UserError: an unknown choice, or two heads.
    """
    for key, known in CHOICES.items():
        choice(config, key, known)
    strong_view.check(config)
    segmenter.check_heads(config, model, "single")
    return segmenter.initial_state(rng, images, config=config, model=model)


def at_start(state, *, config, model):
    """See interface.py. extra: the encoder that the stage begins with, {"params", "batch_stats"},
    where the feature distance is on.
    """
    if not config.feature_distance.weight:
        return state
    networks = {"params": state.params, "batch_stats": state.batch_stats}
    encoder = {name: tree[model.network].get("backbone", {}) for name, tree in networks.items()}
    copy = jax.tree.map(jnp.array, encoder)  # a step donates what it is given
    return state.replace(extra={**state.extra, FROZEN: copy})


def plan(_state, *, data, config):
    """Labelled source images, rare classes drawn more often where rare_classes has a temperature,
    and as many target images, normalised alike.
    """
    for domain in ("source", "target"):
        _check_normalisation(data.normalisation(domain), domain, config)
    size, rare = config.batch_size, config.rare_classes
    source = (
        data.rare_classes("source", size, rare)
        if rare.temperature
        else data.shuffled_with_labels("source", size)
    )
    margins = {"margins": tuple(config.margins)} if config.margins else {}
    return {"source": source, "target": data.shuffled("target", size, **margins)}


def _check_normalisation(found, domain, config):
    """Raises SettingError where images come in other numbers than the jitter, and the pasting from
    one domain into the other, count on.
    """
    for key, value in found.items():
        expected = config.normalisation[key]
        expected = tuple(expected) if isinstance(value, tuple) else expected
        if expected != value:
            raise SettingError(
                f"normalisation.{key}",
                expected,
                f"config.data.transforms.{domain}.{key} is {value}: set both alike, in both"
                " domains",
            )


class Drawn(NamedTuple):
    """All that is random in a step, of this device's rows.

    Attributes:
      scores: float32 [N, K + 1], see class_mix.choose_half.
      mixed, masked: strong_view.Strong of the mixed and of the masked images.
      noise: float32 [N, rows, columns], see block_mask.
      key: of the passes' dropout.
    """

    scores: jax.Array
    mixed: strong_view.Strong
    masked: strong_view.Strong
    noise: jax.Array
    key: jax.Array


def draw(rng, rows, size_hw, *, config, model):
    """Drawn for these rows of the whole batch, whatever the number of devices.

    Args:
      rows: int32 [N], places in the whole batch. size_hw: of the images.
    """
    of_scores, of_mixed, of_masked, of_noise, key = jax.random.split(rng, 5)

    def of_rows(key, shape):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
        return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)

    return Drawn(
        scores=of_rows(of_scores, (model.num_classes + 1,)),
        mixed=strong_view.draw(of_mixed, rows, config),
        masked=strong_view.draw(of_masked, rows, config, one_call=True),
        noise=of_rows(of_noise, grid_size(size_hw, config.masked.block)),
        key=key,
    )


def weighted_cross_entropy(logits, labels, weights, mask, *, axis_name=None):
    """This device's share of the mean of w CE over ALL pixels of the rows in `mask`.

    Args:
      logits: float32 [N, H, W, K]. labels: int32 [N, H, W], 255 without a class: its loss is 0, and
        it counts in the divisor. weights: float32 [N, H, W]. mask: bool [N].
    """
    values = weights * cross_entropy_map(logits, labels)
    return masked_mean(values, _step.pixel_mask(mask, values.shape), axis_name)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step.

    Args:
      batch: "source" with image [N, H, W, 3], label int32 [N, H, W], mask [N]; "target" with image,
        mask and, where the margins of its frames are marked, trusted, bool [N, H, W].

    Raises:
      UserError: images of two sizes, which cannot be mixed; margins or blocks that do not fit them.
    """
    source, target = batch["source"], batch["target"]
    _check_sizes(source, target, config)
    rows = row_numbers(len(source["mask"]), axis_name)
    drawn = draw(rng, rows, target["image"].shape[1:3], config=config, model=model)
    shared = dict(config=config, model=model, axis_name=axis_name)
    labels, weights, teacher_stats, figures = label_target(state, target, **shared)

    def mixing(params, stats, key):
        part, weight = mixed_part(source, target, labels, weights, drawn, **shared)
        loss, stats = _on_pseudo_labels(params, stats, key, part, weight, **shared)
        return config.mix.weight * loss, ({"mixed": loss}, stats)

    def masking(params, stats, key):
        part, weight = masked_part(source, target, labels, weights, drawn, rows, config=config)
        loss, stats = _on_pseudo_labels(params, stats, key, part, weight, **shared)
        return config.masked.weight * loss, ({"masked": loss}, stats)

    def supervising(params, stats, key):
        return supervised(params, stats, key, source, state.extra.get(FROZEN), **shared)

    passes = [supervising, mixing][: 1 + bool(config.mix.weight)] + [masking] * bool(
        config.masked.weight
    )
    grads, terms, stats = _one_after_the_other(passes, state, drawn.key)
    if config.statistics == "target":
        stats = _statistics_of_target(state, target, **shared)
    after, metrics = _step.finish(state, grads, stats, terms, **shared)
    extra = _moved_teacher(state, after, teacher_stats, config)
    return after.replace(extra=extra), metrics | figures


def _one_after_the_other(passes, state, key):
    """(the sum of the gradients, {name: share}, batch_stats) of passes, none of which begins before
    the one before has its gradient: the activations of one alone are in memory.

    Args:
      passes: f(params, batch_stats, key) -> (share of the loss, ({name: share}, batch_stats)).
    """
    params, stats, grads = state.params, state.batch_stats, None
    terms = {"loss": jnp.zeros(())}
    for number, loss_of in enumerate(passes):
        (loss, (found, stats)), more = jax.value_and_grad(loss_of, has_aux=True)(
            params, stats, split_rng(key, number)
        )
        grads = more if grads is None else jax.tree.map(jnp.add, grads, more)
        terms = terms | found | {"loss": terms["loss"] + loss}
        params, stats, grads = jax.lax.optimization_barrier((params, stats, grads))
    return grads, terms, stats


def supervised(params, stats, key, source, frozen, *, config, model, axis_name):
    """The first pass: (share of CE and feature distance, ({name: share}, batch_stats)).

    Args:
      frozen: {"params", "batch_stats"} of the encoder that the stage began with, or None.
    """
    output, stats = _forward(params, stats, source, key, config, model, axis_name)
    labels = source["label"]
    values = cross_entropy_map(_logits(output, labels.shape[1:]), labels)
    counted = (
        valid_pixels(labels, source["mask"])
        if config.source_mean == "valid"
        else _step.pixel_mask(source["mask"], labels.shape)
    )
    terms = {"segmentation": masked_mean(values, counted, axis_name)}
    loss = terms["segmentation"]
    if frozen is not None:
        features = encoder_features(output)
        variables = {
            name: {model.network: tree[model.network] | {"backbone": frozen[name]}}
            for name, tree in {"params": params, "batch_stats": stats}.items()
        }
        before = forward(model, variables, source["image"], config.target_bn)
        values, is_thing = _feature_distances(
            features, encoder_features(before), source, config, model
        )
        terms["feature_distance"] = masked_mean(values, is_thing, axis_name)
        loss = loss + config.feature_distance.weight * terms["feature_distance"]
    return loss, (terms, stats)


def _feature_distances(features, frozen, source, config, model):
    """(float32 [N, h, w], bool [N, h, w], the cells of things)."""
    cells = cell_labels(
        _step.without_padding(source["label"], source["mask"]),
        scale=source["label"].shape[2] // features.shape[2],
        min_share=config.feature_distance.min_share,
        num_classes=model.num_classes,
    )
    is_thing = is_any_of(cells, tuple(config.feature_distance.classes))
    return feature_distance(features, jax.lax.stop_gradient(frozen)), is_thing


def label_target(state, target, *, config, model, axis_name):
    """(pseudo-labels int32 [N, H, W], their weights float32 [N, H, W], the teacher's batch_stats
    after its pass, {"pseudo_weight": float32 scalar}).

    Without a teacher (momentum 0) the student labels, in the same mode. Where nothing is trained
    on pseudo-labels and no teacher is kept, nothing is computed: (None, None, None, {}).
    """
    if not (config.teacher.momentum or config.mix.weight or config.masked.weight):
        return None, None, None, {}
    if config.teacher.momentum:
        teacher = state.extra[TEACHER]
    else:
        teacher = {"params": state.params, "batch_stats": state.batch_stats}
    output, stats = _forward(
        teacher["params"], teacher["batch_stats"], target, None, config, model, axis_name
    )
    size_hw = target["image"].shape[1:3]
    labels, confidence = labelling.labels_and_confidence(_logits(output, size_hw))
    share = labelling.confident_share(
        confidence,
        _step.pixel_mask(target["mask"], labels.shape),
        threshold=config.threshold,
        axis_name=axis_name if config.weight_of == "batch" else None,
    )
    weights = labelling.without_margins(
        jnp.broadcast_to(share, labels.shape), top=config.ignore_top, bottom=config.ignore_bottom
    )
    if "trusted" in target:
        weights = jnp.where(target["trusted"], weights, 0.0)
    everywhere = jnp.ones_like(target["mask"])
    mean_share = masked_mean(jnp.broadcast_to(share, everywhere.shape), everywhere, axis_name)
    return labels, weights, stats, {"pseudo_weight": total(mean_share, axis_name)}


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
    images = class_mix.paste(pasted, source["image"], target["image"])
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
    stays = block_mask(drawn.noise, images.shape[1:3], ratio=config.masked.ratio)
    return part | {"image": jnp.where(stays[..., None], images, 0.0)}, weights


def _on_pseudo_labels(params, stats, key, part, weights, *, config, model, axis_name):
    """(share of w CE, batch_stats) of one pass."""
    output, stats = _forward(params, stats, part, key, config, model, axis_name)
    logits = _logits(output, part["label"].shape[1:])
    loss = weighted_cross_entropy(logits, part["label"], weights, part["mask"], axis_name=axis_name)
    return loss, stats


def _statistics_of_target(state, target, *, config, model, axis_name):
    """batch_stats after one pass of clean target images, moved by nothing else."""
    _, stats = _forward(state.params, state.batch_stats, target, None, config, model, axis_name)
    return stats


def _moved_teacher(before, after, stats, config):
    """`extra` with the teacher after the step, where the stage keeps one."""
    if not config.teacher.momentum:
        return before.extra
    updates = after.step if config.teacher.begins_with == "initial" else before.step
    momentum = warmed_up(config.teacher.momentum, updates)
    params = moving_average(before.extra[TEACHER]["params"], after.params, momentum)
    return {**before.extra, TEACHER: {"params": params, "batch_stats": stats}}


def _forward(params, stats, part, key, config, model, axis_name):
    """A pass in training mode; without a key nothing is dropped."""
    return forward_train(
        model, params, stats, part, norm_set=config.target_bn, axis_name=axis_name, rng=key
    )


def _logits(output, size_hw):
    return segmenter.at_size(output, size_hw).logits


def encoder_features(output):
    """[N, h, w, D] of a SegOutput: the last stage of the encoder."""
    return output.features


def _check_sizes(source, target, config):
    sizes = {
        "source image": source["image"].shape[1:3],
        "source label": source["label"].shape[1:],
        "target image": target["image"].shape[1:3],
    }
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes.items())
        raise UserError(
            "config.data.transforms: pixels of a source image are pasted into a target image, so"
            f" images and labels must have one size (height x width); found {found}; set size of"
            " source and target alike, without image_scales"
        )
    height, width = sizes["target image"]
    if config.ignore_top + config.ignore_bottom >= height:
        raise SettingError(
            "ignore_bottom",
            config.ignore_bottom,
            f"with ignore_top={config.ignore_top} it leaves none of the {height} rows of a target"
            " image; set both smaller",
        )
    if config.masked.weight and not all(grid_size((height, width), config.masked.block)):
        raise SettingError(
            "masked.block",
            config.masked.block,
            f"no block of this size fits into an image of {height}x{width} pixels; set it smaller",
        )
