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
  mirrored_labels       True: the teacher's probabilities are the mean of those of an image and of
                        its mirror image (VFM-UDA).
  masked.block          0: tokens of a vision transformer are hidden behind DINOv2's mask token, in
                        place of pixels behind the mean colour (VFM-UDA).
  weak_view             with a probability above 0 the source is learnt from, and the target pasted
                        into, with jittered colours (VFM-UDA).
  weight_of             "batch": w is of the whole batch. "device": every device has its own, as the
                        released code has with several GPUs.
"""

import functools

import jax
import jax.numpy as jnp

from dajax.losses.feature_distance import cell_labels, feature_distance, is_any_of
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _mean_teacher as teacher
from dajax.methods.segmentation import _mixed_images as images
from dajax.methods.segmentation import _pairs
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import _strong_view as strong_view
from dajax.methods.segmentation._passes import one_after_the_other
from dajax.models.apply import forward
from dajax.parallel import masked_mean, row_numbers
from dajax.settings import SettingError, choice

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


def init(rng, zeros, *, config, model, **_):
    """See interface.py. `at_start` adds what is kept of the weights.

    Raises:
      UserError: an unknown choice, a feature distance of no class, or two heads.
    """
    for key, known in CHOICES.items():
        choice(config, key, known)
    if config.feature_distance.weight and not config.feature_distance.classes:
        raise SettingError(
            "feature_distance.classes",
            (),
            "no feature is held; expected train ids of things, or feature_distance.weight=0",
        )
    strong_view.check(config)
    segmenter.check_heads(config, model, "single")
    return segmenter.initial_state(rng, zeros, config=config, model=model)


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


def check_data(state, *, data, config, model):
    """See interface.py: images of one size, normalised alike, into which margins, blocks and the
    cells of the feature distance fit.
    """
    for domain in ("source", "target"):
        strong_view.check_normalisation(data.normalisation(domain), domain, config.normalisation)
    for source, target in _pairs.possible(data):
        images.check_sizes(source, target, config)
        images.mask_grid(target["image"].shape[1:3], config=config, model=model)
        if config.feature_distance.weight:
            _check_cells(state, source, config, model)


def _check_cells(state, source, config, model):
    """Raises UserError where labels of this shape make no cells for the encoder's last stage."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}

    def distances(variables, part):
        features = forward(model, variables, part["image"], config.target_bn).last_stage
        return _feature_distances(features, features, part, config, model)

    jax.eval_shape(distances, variables, source)


def plan(_state, *, data, config):
    """Labelled source images, rare classes drawn more often where rare_classes has a temperature,
    and as many target images, normalised alike.
    """
    size, rare = config.batch_size, config.rare_classes
    source = (
        data.rare_classes("source", size, rare)
        if rare.temperature
        else data.shuffled_with_labels("source", size)
    )
    margins = {"margins": tuple(config.margins)} if config.margins else {}
    return {"source": source, "target": data.shuffled("target", size, **margins)}


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
    images.check_sizes(source, target, config)
    rows = row_numbers(len(source["mask"]), axis_name)
    drawn = images.draw(rng, rows, target["image"].shape[1:3], config=config, model=model)
    shared = dict(config=config, model=model, axis_name=axis_name)
    labels, weights, teacher_stats, figures = teacher.label_target(state, target, **shared)
    seen = source | {"image": strong_view.weak_view(source["image"], drawn.source, config)}
    passes = [(functools.partial(supervised, frozen=state.extra.get(FROZEN), **shared), seen)]
    if config.mix.weight:
        mixed, of_mixed = images.mixed_part(source, target, labels, weights, drawn, **shared)
        settings = dict(weights=of_mixed, weight=config.mix.weight, **shared)
        passes.append((functools.partial(_pseudo_labelled, name="mixed", **settings), mixed))
    if config.masked.weight:
        masked, of_masked = images.masked_part(
            source, target, labels, weights, drawn, rows, config=config
        )
        settings = dict(weights=of_masked, weight=config.masked.weight, **shared)
        passes.append((functools.partial(_pseudo_labelled, name="masked", **settings), masked))
    grads, terms, stats = one_after_the_other(passes, state, drawn.key)
    if config.statistics == "target":  # moved by nothing else
        _, stats = teacher.see_clean(state.params, state.batch_stats, target, **shared)
    after, metrics = _step.finish(state, grads, stats, terms, **shared)
    extra = teacher.moved(state, after, teacher_stats, config)
    return after.replace(extra=extra), metrics | figures


def supervised(params, stats, key, part, *, frozen, config, model, axis_name):
    """The first pass: (share of CE and feature distance, ({name: share}, batch_stats)).

    Args:
      part: "source" of the batch.
      frozen: {"params", "batch_stats"} of the encoder that the stage began with, or None.
    """
    labels, mask = part["label"], part["mask"]
    shared = dict(config=config, model=model, axis_name=axis_name)
    seen, stats = segmenter.see(params, stats, part, labels.shape[1:], rng=key, **shared)
    everywhere = _step.pixel_mask(mask, labels.shape)
    counted = valid_pixels(labels, mask) if config.source_mean == "valid" else everywhere

    def loss_of(logits, labels, counted):
        return masked_mean(cross_entropy_map(logits, labels), counted, axis_name)

    loss = segmenter.with_detail(loss_of, seen, labels, counted)
    terms = {"segmentation": loss}
    if frozen is not None:
        networks = {"params": params, "batch_stats": stats}
        variables = {
            name: {model.network: tree[model.network] | {"backbone": frozen[name]}}
            for name, tree in networks.items()
        }
        # of the whole network the encoder alone remains in the program
        before = forward(model, variables, part["image"], config.target_bn).last_stage
        values, is_thing = _feature_distances(seen.last_stage, before, part, config, model)
        terms["feature_distance"] = masked_mean(values, is_thing, axis_name)
        loss = loss + config.feature_distance.weight * terms["feature_distance"]
    return loss, (terms, stats)


def _feature_distances(features, before, source, config, model):
    """(float32 [N, h, w], bool [N, h, w], the cells of things)."""
    cells = cell_labels(
        _step.without_padding(source["label"], source["mask"]),
        scale=source["label"].shape[2] // features.shape[2],
        min_share=config.feature_distance.min_share,
        num_classes=model.num_classes,
    )
    if cells.shape != features.shape[:3]:
        raise SettingError(
            "feature_distance.weight",
            config.feature_distance.weight,
            f"labels of {source['label'].shape[1:]} make {cells.shape[1:]} cells where the"
            f" encoder's last stage has {features.shape[1:3]}: make the sizes of"
            " config.data.transforms multiples of the encoder's stride, or set it to 0",
        )
    is_thing = is_any_of(cells, tuple(config.feature_distance.classes))
    return feature_distance(features, jax.lax.stop_gradient(before)), is_thing


def _pseudo_labelled(params, stats, key, part, *, name, weights, weight, config, model, axis_name):
    """A pass of images with pseudo-labels, as one_after_the_other takes it.

    Args:
      part: of images.mixed_part or images.masked_part. weights: of its pixels.
      name: of the loss. weight: of it.
    """
    shared = dict(config=config, model=model, axis_name=axis_name)

    def loss_of(logits, labels, weights):
        return weighted_cross_entropy(logits, labels, weights, part["mask"], axis_name=axis_name)

    seen, stats = segmenter.see(params, stats, part, part["label"].shape[1:], rng=key, **shared)
    loss = segmenter.with_detail(loss_of, seen, part["label"], weights)
    return weight * loss, ({name: loss}, stats)
