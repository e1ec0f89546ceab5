"""Direct minimisation of what the target's predictions lack in certainty: MinEnt (Vu, Jain, Bucher,
Cord and Perez, CVPR 2019), MaxSquare (Chen, Xue and Cai, ICCV 2019) and FDA (Yang and Soatto, CVPR
2020) are settings of this one method.

    CE(source) + aux_weight CE'(source)
        + target_loss.weight L(target) + target_loss.aux_weight L'(target)
        + guidance.weight CE'(target; guided labels) + CE(target; pseudo-labels)

The primed terms are of the auxiliary head, which a network with one head does not have. L is a loss
by name, of losses/entropy.py: "entropy" is MinEnt; "max_square" and, with its image-wise weights,
"image_weighted_max_square" are MaxSquare; "robust_entropy" is FDA's, of the logits before they are
up-sampled. The guided labels are MaxSquare's multi-level guidance (ops/guided_labels.py). The last
term is there in stages with labels_from, the stage of their pseudo-labels: FDA's self-training.

style.of="target" is FDA's swap: the source images take the low amplitudes of the target images of
the same rows (ops/fourier.py).

One pass of the source, then one of the target, each with its own batch statistics, as in all three
released codes.
"""

from dajax.losses.entropy import TARGET_LOSSES, target_map
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _pairs
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import _strong_view as views
from dajax.ops.fourier import swap_amplitudes
from dajax.ops.guided_labels import guided_labels
from dajax.parallel import masked_mean
from dajax.settings import SettingError, check_unread, choice, part_of_config

TASK = "segmentation"
STYLES = {"source": (), "target": ("beta", "normalisation")}


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: an unknown loss or style, a setting that it does not read, or a weight of a head
        that the network does not have.
    """
    segmenter.check_loss(config)
    segmenter.check_whole(config, model)
    choice(config, "target_loss.kind", TARGET_LOSSES)
    with part_of_config("target_loss"):
        check_unread(config.target_loss, "kind", TARGET_LOSSES, {"ratio": 0.0, "eta": 1.0})
    choice(config, "style.of", STYLES)
    if "normalisation" in config.style:
        choice(config, "style.normalisation.channels", views.CHANNELS)
    with part_of_config("style"):
        check_unread(config.style, "of", STYLES, {"beta": 0.0})
    _check_aux_weights(config, model)
    return segmenter.initial_state(rng, images, config=config, model=model)


def _check_aux_weights(config, model):
    """Raises SettingError for a weight of what is not there."""
    aux_weight = config.target_loss.aux_weight
    if config.target_loss.kind == "robust_entropy" and aux_weight:
        raise SettingError(
            "target_loss.aux_weight",
            aux_weight,
            "robust_entropy is of the main head's logits alone; set it to 0.0",
        )
    weights = {"target_loss.aux_weight": aux_weight, "guidance.weight": config.guidance.weight}
    for key, weight in weights.items():
        if model.num_heads == 1 and weight:
            raise SettingError(
                key,
                weight,
                "weighs a loss of the second head, and the network has one; set it to 0.0, or"
                " config.model.heads to 'multi'",
            )


def check_data(_state, *, data, config, **_):
    """See interface.py: of the swap, images of one size that are normalised alike."""
    if config.style.of != "target":
        return
    for domain in ("source", "target"):
        views.check_normalisation(
            data.normalisation(domain), domain, config.style.normalisation, "style."
        )
    for parts in _pairs.possible(data):
        _check_sizes(*parts)


def plan(_state, *, data, config):
    """Labelled source images and as many target images, with the pseudo-labels of
    config.labels_from where there is such a key.
    """
    size = config.batch_size
    target = (
        data.with_pseudo_labels(size, config.labels_from)
        if "labels_from" in config
        else data.shuffled("target", size)
    )
    return {"source": data.shuffled_with_labels("source", size), "target": target}


def losses(source, target, batch, extra, *, config, axis_name=None):
    """See segmenter.step_on_both_domains."""
    shared = dict(config=config, axis_name=axis_name)
    part, settings = batch["target"], config.target_loss
    main, aux = segmenter.supervised(source, batch["source"], **shared)
    terms, weights = {"segmentation": main}, {"segmentation": 1.0}

    def of_target(logits):
        values = target_map(logits, settings)
        return masked_mean(values, _step.pixel_mask(part["mask"], values.shape), axis_name)

    is_coarse = settings.kind == "robust_entropy"
    terms["target"] = of_target(target.coarse_logits if is_coarse else target.logits)
    weights["target"] = settings.weight
    if aux is not None:
        terms["segmentation_aux"], weights["segmentation_aux"] = aux, config.loss.aux_weight
        if settings.aux_weight:
            terms["target_aux"] = of_target(target.aux_logits)
            weights["target_aux"] = settings.aux_weight
    if config.guidance.weight:
        labels = guided_labels(
            target.logits, target.aux_logits, threshold=config.guidance.threshold
        )
        values = cross_entropy_map(target.aux_logits, labels)
        terms["guidance"] = masked_mean(values, valid_pixels(labels, part["mask"]), axis_name)
        weights["guidance"] = config.guidance.weight
    if "label" in part:
        terms["segmentation_target"], _ = segmenter.supervised(target, part, **shared)
        weights["segmentation_target"] = 1.0
    return sum(weights[name] * term for name, term in terms.items()), terms, extra


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image,
        mask and, in a stage with labels_from, label.

    Raises:
      UserError: with style.of="target", images of two sizes.
    """
    source, target = batch["source"], batch["target"]
    if config.style.of == "target":
        batch = batch | {"source": source | {"image": _restyled(source, target, config.style)}}
    return segmenter.step_on_both_domains(
        state,
        batch,
        losses,
        rng,
        target_hw=(target["label"] if "label" in target else target["image"]).shape[1:3],
        config=config,
        model=model,
        axis_name=axis_name,
    )


def _check_sizes(source, target):
    _pairs.check_one_size(
        source,
        target,
        "with style.of='target' source images take frequencies of target images",
        "set size of source and target alike, or style.of of the stage to 'source'",
    )


def _restyled(source, target, style):
    """The source's images, normalised, with the target's low amplitudes."""
    _check_sizes(source, target)
    raw = [views.to_rgb(part["image"], style.normalisation) for part in (source, target)]
    return views.from_rgb(swap_amplitudes(*raw, beta=style.beta), style.normalisation)
