"""Self-training: the supervised loss on target images with the pseudo-labels of a stage before
(SPCL's third stage, its eq. 9; CBST and CRST).

    CE(target; pseudo-labels) + source_weight CE(source) + kld_weight MRKLD(target)

SPCL's released configuration: trained normalisation, random scale and crop, colour jitter
(configs/spcl.py), and source_weight=0: the source is not shown. With a source_weight both domains
train, the source first, each with its own batch statistics; many later methods do so, against
forgetting what is certain.

With a source_share the step is CBST's: batches from one shuffled list of all target images and this
share of the source's. One pass, and CE is the mean over the labelled pixels of the whole batch.

With rare_crops.probability most target images are cropped about a pixel of a class that is rare in
the pseudo-labels (CRST's code, which trains CBST, too).

MRKLD is CRST's model regulariser, the mean of -(1/K) sum_c log p_c over the labelled pixels of the
target. Of two heads the main one alone is trained.
"""

import jax.numpy as jnp

from dajax.losses.segmentation import valid_pixels
from dajax.losses.soft_labels import uniform_divergence_map
from dajax.methods.segmentation import _pairs
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.parallel import masked_mean
from dajax.settings import SettingError

TASK = "segmentation"


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown loss.kind, or both source_weight and source_share.
    """
    segmenter.check_loss(config)
    if config.source_share and config.source_weight:
        problem = "batches mixed by source_share have one mean over all pixels; set one of both to"
        raise SettingError("source_weight", config.source_weight, f"{problem} 0")
    return segmenter.initial_state(rng, images, config=config, model=model)


def check_data(_state, *, data, config, **_):
    """See interface.py: of batches of both domains, images of one size."""
    if config.source_share:
        for parts in _pairs.possible(data, config.transform):
            _check_sizes(*parts)


def _check_sizes(source, target):
    for key in ("image", "label"):
        _pairs.check_one_size(
            source,
            target,
            "with source_share one batch has images of both domains",
            "set size and image_scales of source as of the stage's transform",
            of_source=(key,),
            of_target=(key,),
        )


def plan(_state, *, data, config):
    """One shuffled batch of target images with the pseudo-labels of config.labels_from, augmented
    by config.data.transforms[config.transform]; with config.source_weight one of labelled source
    images, too; with config.source_share one batch of both. See the module for rare_crops.
    """
    size, labelled = config.batch_size, (config.labels_from, config.transform)
    if config.source_share:
        parts = data.mixed_with_pseudo_labels(size, *labelled, config.source_share)
    else:
        parts = {"target": data.with_pseudo_labels(size, *labelled)}
    if config.source_weight:
        parts["source"] = data.shuffled_with_labels("source", size)
    rare = config.rare_crops
    if rare.probability:
        parts["target"] = data.with_crops_of_rare_classes(parts["target"], config.labels_from, rare)
    return parts


def _regulariser(seen, label, mask, *, config, axis_name):
    """(its share of the loss, {"kld": the unweighted share}) of images in which `mask`, bool [N],
    are the target's; (0, {}) where it has no weight.
    """
    if not config.kld_weight:
        return 0.0, {}
    values = uniform_divergence_map(seen.logits)
    term = masked_mean(values, valid_pixels(label, mask), axis_name)
    return config.kld_weight * term, {"kld": term}


def losses(source, target, batch, extra, *, config, axis_name=None):
    """See segmenter.step_on_both_domains."""
    shared = dict(config=config, axis_name=axis_name)
    of_source, _ = segmenter.supervised(source, batch["source"], **shared)
    of_target, _ = segmenter.supervised(target, batch["target"], **shared)
    further, terms = _regulariser(
        target, batch["target"]["label"], batch["target"]["mask"], **shared
    )
    terms |= {"segmentation": of_source, "segmentation_target": of_target}
    return of_target + config.source_weight * of_source + further, terms, extra


def mixed(batch):
    """The rows of both parts as one part: each row is padding in one of them."""
    source, target = batch["source"], batch["target"]

    def of_row(name):
        at = source["mask"].reshape((-1,) + (1,) * (source[name].ndim - 1))
        return jnp.where(at, source[name], target[name])

    rows = {name: of_row(name) for name in ("image", "label")}
    return rows | {"mask": source["mask"] | target["mask"]}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step.

    Args:
      batch: "target" with image [N, h, w, 3], label int32 [N, H, W], the pseudo-labels, mask bool
        [N]; with config.source_weight or config.source_share "source", with its own labels.
    """
    passes = dict(config=config, model=model, axis_name=axis_name)
    if config.source_share:
        _check_sizes(batch["source"], batch["target"])
    if config.source_weight:
        return segmenter.step_on_both_domains(state, batch, losses, rng, **passes)
    part = mixed(batch) if config.source_share else batch["target"]

    def further(seen):
        mask = batch["target"]["mask"]
        return _regulariser(seen, part["label"], mask, config=config, axis_name=axis_name)

    return segmenter.step_on_labels(state, part, lambda main, _: main, rng, further, **passes)
