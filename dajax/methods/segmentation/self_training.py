"""Self-training: the supervised loss on target images with the pseudo-labels of a stage before
(SPCL's third stage; its eq. 9).

    CE(target; pseudo-labels) + source_weight CE(source)

The released configuration: trained normalisation, random scale and crop, colour jitter
(configs/spcl.py), and source_weight=0: the source is not shown. With a source_weight both domains
train, the source first, each with its own batch statistics; many later methods do so, against
forgetting what is certain. Of two heads the main one alone is trained.
"""

from dajax.methods.segmentation import _segmenter as segmenter

TASK = "segmentation"


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown loss.kind.
    """
    segmenter.check_loss(config)
    return segmenter.initial_state(rng, images, config=config, model=model)


def plan(_state, *, data, config):
    """One shuffled batch of target images with the pseudo-labels of config.labels_from, augmented
    by config.data.transforms[config.transform]; with config.source_weight one of labelled source
    images, too.
    """
    size = config.batch_size
    parts = {"target": data.with_pseudo_labels(size, config.labels_from, config.transform)}
    if config.source_weight:
        parts["source"] = data.shuffled_with_labels("source", size)
    return parts


def losses(source, target, batch, extra, *, config, axis_name=None):
    """See segmenter.step_on_both_domains."""
    of_source, _ = segmenter.supervised(source, batch["source"], config=config, axis_name=axis_name)
    of_target, _ = segmenter.supervised(target, batch["target"], config=config, axis_name=axis_name)
    terms = {"segmentation": of_source, "segmentation_target": of_target}
    return of_target + config.source_weight * of_source, terms, extra


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step.

    Args:
      batch: "target" with image [N, h, w, 3], label int32 [N, H, W], the pseudo-labels, mask bool
        [N]; with config.source_weight "source", with its own labels.
    """
    passes = dict(config=config, model=model, axis_name=axis_name)
    if config.source_weight:
        return segmenter.step_on_both_domains(state, batch, losses, rng, **passes)
    return segmenter.step_on_labels(state, batch["target"], lambda main, _: main, rng, **passes)
