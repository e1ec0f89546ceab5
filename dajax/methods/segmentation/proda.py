"""ProDA, its first stage (Zhang, Zhang, Zhang, Chen, Wang, Wen, CVPR 2021): pseudo-labels that
prototypes correct while training goes on, and symmetric cross-entropy.

    CE(source) + ce_weight CE(y) + rce_weight RCE(y) + kld_weight MRKLD
               + consistency_weight KL(eta of the teacher || eta of the student)

y = argmax_k eta_k p0_k, with p0 the class probabilities of the network that the stage begins with
and eta = softmax_k(-|f - P_k| / temperature) of the teacher's features f, a moving average of the
student. CE, RCE and MRKLD are of the student's pass of the clean target image, eta of the student
of its pass of a strong view; all at the network's stride. The teacher sees the clean image in
training mode, since the released code never sets it to evaluation: the batch's statistics
normalise. The first network has its running ones. RCE is the reverse cross-entropy, MRKLD the mean
of -log p_c over all pixels and classes (losses/soft_labels.py).

Passes: source, target, strong view, each with its own batch statistics, all of which move the
running ones.

The prototypes P begin as the mean over target images of each image's class means (refresh), where
an image has min_pixels of a class by its prediction, and move towards those of each image after the
step (ops/rectification.py).

The released code reads p0 from files of all classes' probabilities; here a copy of that network
predicts it anew. Its f is a layer of 256 channels that its own head has; here it is what the head
takes. Its teacher sees the whole frame, of which the crop's features are cut out; here the crop.
Its target terms are at a quarter of the image's size, to which it resizes; here at the network's
stride. The distillation into a SimCLR network, stages 2 and 3, is not here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax import processes
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.losses.soft_labels import reverse_cross_entropy_map, uniform_divergence_map
from dajax.methods import _step
from dajax.methods.segmentation import _prototype_stage as prototype_stage
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import _strong_view as strong_view
from dajax.methods.segmentation._passes import one_after_the_other
from dajax.models.apply import forward, inference
from dajax.ops import prototypes as proto
from dajax.ops import rectification as rect
from dajax.parallel import gather, masked_mean, row_numbers
from dajax.settings import SettingError
from dajax.state import TEACHER

TASK = "segmentation"
schedule = prototype_stage.schedule
FIRST = "first_network"  # in TrainState.extra


def init(rng, images, *, config, model, **_):
    """See interface.py. extra: prototypes float32 [K, D]; known bool [K], which classes have one;
    is_initialised bool, whether refresh has run. `at_start` adds the first network.

    Raises:
      UserError: unknown words, no teacher, two heads, or HRDA.
    """
    segmenter.check_loss(config)
    strong_view.check(config)
    segmenter.check_heads(config, model, "single")
    segmenter.check_whole(config, model)
    if not config.teacher.momentum:
        problem = "prototypes are compared with the teacher's features; 0.999 in the released code"
        raise SettingError("teacher.momentum", config.teacher.momentum, problem)

    extra = prototype_stage.empty_extra(model.num_classes)
    return segmenter.initial_state(rng, images, config=config, model=model, extra=extra)


def at_start(state, *, config, model):
    """See interface.py: the network that the stage begins with, {"params", "batch_stats"}."""
    networks = {"params": state.params, "batch_stats": state.batch_stats}
    first = jax.tree.map(jnp.array, networks)  # a step donates what it is given
    return state.replace(extra={**state.extra, FIRST: first})


def check_data(_state, *, data, config, **_):
    """See interface.py: target images are normalised as config.normalisation says."""
    strong_view.check_normalisation(data.normalisation("target"), "target", config.normalisation)


def plan(_state, *, data, config):
    """Labelled source images and target images."""
    size = config.batch_size
    source, target = data.shuffled_with_labels("source", size), data.shuffled("target", size)
    return {"source": source, "target": target}


def image_means(features, logits, mask, *, min_pixels):
    """(float32 [N, K, D], bool [N, K]): the mean feature of each image's pixels that are predicted
    as a class, and whether there are min_pixels of them.

    Args:
      features: float32 [N, h, w, D]; logits: float32 [N, h, w, K]; mask: bool [N].
    """
    labels = jnp.argmax(logits, -1).astype(jnp.int32)
    counted = _step.pixel_mask(mask, labels.shape)
    sums, counts = proto.per_image_sums_and_counts(features, labels, counted, logits.shape[-1])
    means, _ = jax.vmap(proto.class_means)(sums, counts)
    return means, counts >= min_pixels


@functools.lru_cache(maxsize=8)
def _compiled_add(min_pixels):
    def add(carry, features, logits, mask):
        means, present = image_means(features, logits, mask, min_pixels=min_pixels)
        sums = jnp.where(present[..., None], means, 0.0).sum(0)
        return proto.add(carry, (sums, present.sum(0, dtype=jnp.float32)))

    return jax.jit(add)


def refresh(state, *, data, config, model):
    """See interface.py: the first prototypes, of the whole target (calc_prototype.py)."""
    run, add, carry = (
        inference(model, config.target_bn, data.devices),
        _compiled_add(config.min_pixels),
        None,
    )
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    for batch in data.target_pass(config.init_batch_size):
        output = run(variables, batch["image"])
        if carry is None:
            carry = proto.empty_totals(model.num_classes, output.features.shape[-1])
        # off the devices' axis
        carry = add(carry, np.asarray(output.features), np.asarray(output.logits), batch["mask"])
    prototypes, known = proto.class_means(*processes.total(*(carry or (None, None))[:2]))
    extra = {"prototypes": prototypes, "known": known, "is_initialised": jnp.ones((), bool)}
    figures = {"classes_with_prototype": float(known.sum())}
    return state.replace(extra={**state.extra, **extra}), figures, []


def label_loss(logits, labels, mask, *, config, axis_name=None):
    """(this device's share of CE, RCE and MRKLD, weighted, {name: unweighted share}).

    Args:
      logits: float32 [N, h, w, K], of the student.
      labels: int32 [N, h, w], 255 ignored; mask: bool [N].
    """
    clips = dict(
        smallest_probability=config.smallest_probability, smallest_label=config.smallest_label
    )
    labelled, everywhere = valid_pixels(labels, mask), _step.pixel_mask(mask, labels.shape)
    maps = {
        "ce": (cross_entropy_map(logits, labels), labelled),
        "rce": (reverse_cross_entropy_map(logits, labels, **clips), labelled),
        "kld": (uniform_divergence_map(logits), everywhere),
    }
    terms = {name: masked_mean(*of_map, axis_name) for name, of_map in maps.items()}
    return sum(config[f"{name}_weight"] * term for name, term in terms.items()), terms


def consistency(features, teacher, mask, extra, *, config, axis_name=None):
    """This device's share of KL, unweighted.

    Args:
      features: float32 [N, h, w, D], of the student; teacher: float32 [N, h, w, K], its
        log_assignment.
      mask: bool [N].
    """
    distances = rect.prototype_distances(features, extra["prototypes"])
    student = rect.log_assignment(distances, extra["known"], temperature=config.temperature)
    divergence = rect.assignment_divergence_map(teacher, student)
    return masked_mean(divergence, _step.pixel_mask(mask, divergence.shape), axis_name)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask.
    """
    source, target, extra = batch["source"], batch["target"], state.extra
    shared = dict(config=config, model=model, axis_name=axis_name)
    of_first = forward(model, extra[FIRST], target["image"], config.target_bn)
    at_stride = of_first.logits.shape[1:3]
    networks = extra[TEACHER]["params"], extra[TEACHER]["batch_stats"]
    of_teacher, _ = segmenter.see(*networks, target, at_stride, deterministic=True, **shared)
    distances = rect.prototype_distances(of_teacher.features, extra["prototypes"])
    teacher = rect.log_assignment(distances, extra["known"], temperature=config.temperature)
    soft = jax.nn.softmax(of_first.logits)
    labels = rect.rectified_labels(teacher, soft, threshold=config.threshold)
    of_view, of_passes = jax.random.split(rng)
    rows = row_numbers(len(target["mask"]), axis_name)
    view = strong_view.strong_view(target["image"], strong_view.draw(of_view, rows, config), config)

    def on_source(params, stats, key, part):
        size_hw = segmenter.label_size(part)
        seen, stats = segmenter.see(params, stats, part, size_hw, rng=key, **shared)
        loss, _ = segmenter.supervised(seen, part, config=config, axis_name=axis_name)
        return loss, ({"segmentation": loss}, stats)

    def on_clean(params, stats, key, part):
        seen, stats = segmenter.see(params, stats, part, at_stride, rng=key, **shared)
        loss, terms = label_loss(
            seen.coarse_logits, labels, part["mask"], config=config, axis_name=axis_name
        )
        return loss, (terms, stats)

    def on_view(params, stats, key, part):
        seen, stats = segmenter.see(params, stats, part, at_stride, rng=key, **shared)
        term = consistency(
            seen.features, teacher, part["mask"], extra, config=config, axis_name=axis_name
        )
        return config.consistency_weight * term, ({"consistency": term}, stats)

    passes = [(on_source, source), (on_clean, target), (on_view, target | {"image": view})]
    grads, terms, stats = one_after_the_other(passes, state, of_passes)
    after, metrics = _step.finish(state, grads, stats, terms, **shared)
    means = image_means(
        of_teacher.features, of_teacher.coarse_logits, target["mask"], min_pixels=config.min_pixels
    )
    prototypes, known = rect.move_by_images(
        extra["prototypes"],
        extra["known"],
        *(gather(each, axis_name) for each in means),
        decay=config.prototype_decay,
    )
    return after.replace(extra={**extra, "prototypes": prototypes, "known": known}), metrics
