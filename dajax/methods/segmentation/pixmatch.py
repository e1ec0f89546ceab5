"""PixMatch (Melas-Kyriazi and Manrai, CVPR 2021): what the network predicts for a target image, it
shall predict for a perturbed one.

    CE(source) + aux_weight CE'(source)
        + sum_T T.weight [ CE(f(T(x)); T(label)) + aux_weight CE'(f(T(x)); T(label')) ]

The labels are those of the current network on the target image x, in training mode and without a
gradient: of the main head where it is surer than `threshold`, and for an auxiliary head, whose
terms are primed, of the mean of both where one of them is (ops/guided_labels.py).

T is one or both of: fourier, x with the amplitudes of a source image at low frequencies
(ops/fourier.py); cutmix, x with a box of a source image and its label, or with probability 1/2 the
source image with a box of x (ops/cut_mix.py), one box a batch, and the main labels for both heads.
A weight of 0 leaves a perturbation out.

Passes: source, target, each perturbation, all with their own batch statistics, all of which move
the running ones. As the released code, fourier takes images that are normalised, where FDA takes
raw ones. The moving average that the code evaluates with is the engine's teacher.
"""

import functools

import jax
import jax.numpy as jnp

from dajax.methods import _step
from dajax.methods.segmentation import _pairs
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation._passes import one_after_the_other
from dajax.models.apply import split_rng
from dajax.ops.class_mix import paste
from dajax.ops.cut_mix import box_mask
from dajax.ops.fourier import swap_amplitudes
from dajax.ops.guided_labels import guided_labels
from dajax.ops.labels import IGNORED

TASK = "segmentation"


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown loss.kind, or HRDA.
    """
    segmenter.check_loss(config)
    segmenter.check_whole(config, model)
    return segmenter.initial_state(rng, images, config=config, model=model)


def plan(_state, *, data, config):
    """Labelled source images and as many target images."""
    size = config.batch_size
    source, target = data.shuffled_with_labels("source", size), data.shuffled("target", size)
    return {"source": source, "target": target}


def labels_of(seen, *, threshold):
    """(main labels, auxiliary labels or None), int32 [N, H, W], 255 where the network is not sure.

    Args:
      seen: segmenter.Seen of target images, logits at the size of the labels.
      threshold: a head is sure above it.
    """
    probabilities = jax.nn.softmax(seen.logits)
    main = jnp.where(
        probabilities.max(-1) > threshold, probabilities.argmax(-1).astype(jnp.int32), IGNORED
    )
    if seen.aux_logits is None:
        return main, None
    return main, guided_labels(seen.logits, seen.aux_logits, threshold=threshold)


def consistency(seen, part, aux_labels, *, config, axis_name=None):
    """This device's share of CE(main) + aux_weight CE'(aux) of a perturbed image.

    Args:
      seen: segmenter.Seen of it.
      part: label int32 [N, H, W], of the main head, and mask bool [N].
      aux_labels: int32 [N, H, W], or None.
    """
    shared = dict(config=config, axis_name=axis_name)
    loss, aux = segmenter.supervised(seen, part, **shared)
    if aux is None:
        return loss
    _, aux = segmenter.supervised(seen, part | {"label": aux_labels}, **shared)
    return loss + config.loss.aux_weight * aux


def draw(rng, size_hw):
    """(bool [H, W], the box of CutMix; bool scalar, whether the source image is the canvas): the
    same for all rows of the batch.
    """
    share, row, column, swap = jax.random.uniform(rng, (4,))
    height, width = size_hw
    center = jnp.floor(jnp.stack([row * height, column * width]))
    return box_mask(share, center, size_hw), swap < 0.5


def cut_mixed(box, is_swapped, source, target):
    """The target with the box of the source, or where it is swapped the source with the target's:
    images [N, H, W, C] or labels [N, H, W].

    Args:
      box: bool [H, W]; is_swapped: bool scalar.
    """
    of_source = jnp.broadcast_to((box ^ is_swapped)[None], source.shape[:3])
    return paste(of_source, source, target)


def _perturbed(source, target, labels, rng, config):
    """{name: (part, labels of the auxiliary head)} of the perturbations that are on."""
    main, aux = labels
    mask, found = source["mask"] & target["mask"], {}
    if config.fourier.weight:
        images = swap_amplitudes(target["image"], source["image"], beta=config.fourier.beta)
        found["fourier"] = {"image": images, "label": main, "mask": mask}, aux
    if config.cutmix.weight:
        box, is_swapped = draw(rng, main.shape[1:])
        mixed = functools.partial(cut_mixed, box, is_swapped)
        label = mixed(source["label"], main)
        image = mixed(source["image"], target["image"])
        found["cutmix"] = {"image": image, "label": label, "mask": mask}, label
    return found


def _check_sizes(source, target):
    _pairs.check_one_size(
        source,
        target,
        "target images take frequencies and labelled boxes of source images",
        "set size of source and target alike, without image_scales",
        of_source=("image", "label"),
    )


def check_data(_state, *, data, **_):
    """See interface.py: images of one size."""
    for parts in _pairs.possible(data):
        _check_sizes(*parts)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step.

    Args:
      batch: "source" with image [N, H, W, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask.

    Raises:
      UserError: images of two sizes.
    """
    source, target = batch["source"], batch["target"]
    _check_sizes(source, target)
    shared = dict(config=config, model=model, axis_name=axis_name)
    size_hw = segmenter.label_size(source)

    def supervised(params, stats, key, part):
        seen, stats = segmenter.see(params, stats, part, size_hw, rng=key, **shared)
        main, aux = segmenter.supervised(seen, part, config=config, axis_name=axis_name)
        loss = main if aux is None else main + config.loss.aux_weight * aux
        return loss, ({"segmentation": main}, stats)

    def perturbed(params, stats, key, part, *, name, aux_labels):
        seen, stats = segmenter.see(params, stats, part, size_hw, rng=key, **shared)
        term = consistency(seen, part, aux_labels, config=config, axis_name=axis_name)
        return config[name].weight * term, ({name: term}, stats)

    of_source, of_labels, of_box, of_passes = (split_rng(rng, number) for number in range(4))
    grads, terms, stats = one_after_the_other([(supervised, source)], state, of_source)
    target = _step.not_before(grads, target)
    seen, stats = segmenter.see(state.params, stats, target, size_hw, rng=of_labels, **shared)
    labels = labels_of(seen, threshold=config.threshold)
    passes = [
        (functools.partial(perturbed, name=name, aux_labels=aux_labels), part)
        for name, (part, aux_labels) in _perturbed(source, target, labels, of_box, config).items()
    ]
    begun = grads, terms, stats
    grads, terms, stats = one_after_the_other(passes, state, of_passes, begun)
    return _step.finish(state, grads, stats, terms, **shared)
