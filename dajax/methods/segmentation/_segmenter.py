"""What the methods share that train a segmenter: its passes, its supervised loss, and the steps of
those with one optimiser.
"""

import functools
from typing import NamedTuple

import jax

from dajax.errors import UserError
from dajax.losses.segmentation import PIXEL_LOSSES, pixel_loss, valid_pixels
from dajax.methods import _step
from dajax.models.apply import (
    feature_width,
    forward_train,
    init_discriminator,
    init_network,
    split_rng,
)
from dajax.models.aspp import Detail
from dajax.ops.resize import resize_bilinear
from dajax.parallel import masked_mean
from dajax.settings import SettingError, choice
from dajax.state import TrainState


class Seen(NamedTuple):
    """What a segmenter makes of the images of one domain, all float32.

    Attributes:
      features: [N, h, w, D], the input of the last head, at the network's stride.
      coarse_logits: [N, h, w, K] of the main head, at that stride.
      logits: [N, H, W, K], the same at the size that was asked for.
      aux_logits: [N, H, W, K] of the auxiliary head, or None where there is one head only.
      last_stage: [N, h', w', D'] of the encoder, see SegOutput.
      detail: of HRDA, its logits at the fineness of `logits`, its place in their pixels; else None.
    """

    features: jax.Array
    coarse_logits: jax.Array
    logits: jax.Array
    aux_logits: jax.Array | None
    last_stage: jax.Array | None = None
    detail: Detail | None = None


def at_size(output, size_hw, *, align_corners=True):
    """SegOutput -> Seen with logits of this (H, W), bilinear.

    Args:
      align_corners: the model's, see DeepLab.

    Raises:
      UserError: a size of which a cell of HRDA's logits is no whole number of pixels.
    """
    aux = output.aux_logits
    resize = functools.partial(resize_bilinear, align_corners=align_corners)
    return Seen(
        output.features,
        output.logits,
        resize(output.logits, size_hw),
        None if aux is None else resize(aux, size_hw),
        output.last_stage,
        None if output.detail is None else _detail_at_size(output, size_hw, resize),
    )


def _detail_at_size(output, size_hw, resize):
    """The Detail of a SegOutput with logits and place in pixels of images of size_hw."""
    detail, grid_hw = output.detail, output.logits.shape[1:3]
    if any(size % cells for size, cells in zip(size_hw, grid_hw, strict=True)):
        raise UserError(
            f"config.model.hrda: labels of {size_hw[0]}x{size_hw[1]} on logits of"
            f" {grid_hw[0]}x{grid_hw[1]}: the detail crop needs labels a whole number of times the"
            " logits' size; make config.data.transforms sizes multiples of the images'"
        )
    rows, columns = (size // cells for size, cells in zip(size_hw, grid_hw, strict=True))
    height, width = detail.logits.shape[1:3]
    return detail._replace(
        logits=resize(detail.logits, (rows * height, columns * width)),
        top=rows * detail.top,
        left=columns * detail.left,
    )


def with_detail(loss_of, seen, *maps):
    """A loss of the main logits and, where HRDA has seen a crop in detail, of that: HRDA's
    (1 - weight) L(whole) + weight L(crop), weight being the paper's lambda_d.

    Args:
      loss_of: f(logits float32 [N, H, W, K], *maps) -> scalar.
      seen: Seen, as `at_size` gives it.
      *maps: what belongs to the pixels, [N, H, W] each: labels, weights, masks.

    Returns:
      loss_of(seen.logits, *maps) alone where there is no detail.
    """
    whole, detail = loss_of(seen.logits, *maps), seen.detail
    if detail is None:
        return whole
    height, width = detail.logits.shape[1:3]

    def crop(map_):
        start = (0, detail.top, detail.left)
        return jax.lax.dynamic_slice(map_, start, (len(map_), height, width))

    of_crop = loss_of(detail.logits, *map(crop, maps))
    return (1.0 - detail.weight) * whole + detail.weight * of_crop


def see(
    params,
    batch_stats,
    part,
    size_hw,
    *,
    config,
    model,
    axis_name,
    rng=None,
    deterministic=False,
):
    """One training pass of a domain's images.

    Args:
      params, batch_stats: by network, of the segmenter at least.
      part: image float32 [N, h, w, 3], mask bool [N].
      size_hw: (H, W) of the logits.
      rng, deterministic: as forward_train takes them.

    Returns:
      (Seen, batch_stats with the running statistics moved once). Both domains have one set of
        statistics.
    """
    norm_set = config.target_bn
    output, batch_stats = forward_train(
        model,
        params,
        batch_stats,
        part,
        norm_set=norm_set,
        axis_name=axis_name,
        rng=rng,
        deterministic=deterministic,
    )
    return at_size(output, size_hw, align_corners=model.align_corners), batch_stats


def label_size(part):
    """(H, W) of a part's labels [N, H, W]: an image that was scaled at random has another size."""
    return part["label"].shape[1:]


def supervised(seen, part, *, config, axis_name):
    """Shares of config.loss on labelled images: (the main head's, the auxiliary head's or None).

    Args:
      seen: with logits of the size of the labels.
      part: label int32 [N, H, W], mask bool [N].
    """
    labels, valid = part["label"], valid_pixels(part["label"], part["mask"])

    def loss_of(logits, labels, valid):
        return masked_mean(pixel_loss(logits, labels, config.loss), valid, axis_name)

    main = with_detail(loss_of, seen, labels, valid)
    return main, None if seen.aux_logits is None else loss_of(seen.aux_logits, labels, valid)


def check_loss(config):
    """Raises UserError for an unknown config.loss.kind."""
    choice(config, "loss.kind", PIXEL_LOSSES)


def check_heads(config, model, heads):
    """Raises UserError where the network has other heads than the method needs."""
    if model.heads != heads:
        raise SettingError(
            "config.model.heads", model.heads, f"set it to '{heads}', which {config.method} needs"
        )


def check_whole(config, model):
    """Raises UserError for HRDA in a method whose losses do not train its detail crop."""
    if model.detail_hw:
        raise SettingError(
            "config.model.hrda.detail_hw",
            model.detail_hw,
            f"{config.method} trains no detail crop; set it to ()",
        )


def initial_state(rng, images, *, config, model, extra=None):
    """TrainState at step 0 of the segmenter, its optimiser and extra(D), a function of the width of
    the features, where there is one.
    """
    params, batch_stats = init_network(rng, images, model=model)
    extra = None if extra is None else extra(feature_width(model, params, batch_stats, images))
    return _step.initial_state(params, batch_stats, config=config, model=model, extra=extra)


def initial_adversarial_state(rng, images, names, *, config, model):
    """TrainState at step 0 of the segmenter and of discriminators over class probabilities, each
    network with an optimiser of its own.

    Args:
      names: of the discriminators, config.adversarial.width wide.
    """
    params, batch_stats = init_network(rng, images, model=model)
    for i, name in enumerate(names):
        params[name] = init_discriminator(
            jax.random.fold_in(rng, i + 1),
            num_classes=model.num_classes,
            width=config.adversarial.width,
        )
    parts = _step.one_part_each(params)
    opt_state = _step.initial_opt_states(adversarial_optimizers(config, model, params), parts)
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state=opt_state)


def adversarial_optimizers(config, model, params):
    """{network: Optimizer}: config.optimizer for the segmenter, config.discriminator_optimizer for
    every other network.
    """
    return {
        name: _step.optimizer_of(config, model, part)
        if name == model.network
        else _step.optimizer_at("discriminator_optimizer", config, part)
        for name, part in _step.one_part_each(params).items()
    }


def step_on_labels(state, part, loss_of, rng, further=None, *, config, model, axis_name):
    """One step on labelled images of one domain.

    Args:
      part: image [N, h, w, 3], label int32 [N, H, W], mask [N].
      loss_of: f(main, aux), the shares that `supervised` gives -> this device's share of the loss.
      rng: key of the step.
      further: f(Seen) -> (this device's share of what else is added to the loss, {name: share} for
        the log); None for nothing.
    """

    def loss_fn(params):
        seen, batch_stats = see(
            params,
            state.batch_stats,
            part,
            label_size(part),
            config=config,
            model=model,
            axis_name=axis_name,
            rng=rng,
        )
        more, terms = (0.0, {}) if further is None else further(seen)
        loss = loss_of(*supervised(seen, part, config=config, axis_name=axis_name)) + more
        return loss, (terms | {"loss": loss}, batch_stats)

    (_, (terms, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return _step.finish(
        state, grads, batch_stats, terms, config=config, model=model, axis_name=axis_name
    )


def step_on_both_domains(state, batch, losses, rng, *, config, model, axis_name, target_hw=None):
    """One step on a loss of both domains: the source passes first, then the target, each with its
    own batch statistics.

    Args:
      batch: "source" and "target", each with image [N, h, w, 3] and mask [N]. Logits come at the
        size of the labels; of a part without labels at that of the source's.
      losses: (source Seen, target Seen, batch, extra, *, config, axis_name) -> (this device's share
        of the loss, {name: share}, new extra).
      rng: key of the step.
      target_hw: (H, W) of the target's logits in place of these.

    Returns:
      (TrainState with the new extra, {name: float scalar}).
    """
    source, target = batch["source"], batch["target"]
    passes = dict(config=config, model=model, axis_name=axis_name)
    target_hw = target_hw or label_size(target if "label" in target else source)

    def loss_fn(params):
        of_source, batch_stats = see(
            params,
            state.batch_stats,
            source,
            label_size(source),
            rng=split_rng(rng, 0),
            **passes,
        )
        of_target, batch_stats = see(
            params, batch_stats, target, target_hw, rng=split_rng(rng, 1), **passes
        )
        loss, terms, extra = losses(
            of_source, of_target, batch, state.extra, config=config, axis_name=axis_name
        )
        return loss, (terms | {"loss": loss}, batch_stats, extra)

    (_, (terms, batch_stats, extra)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    after, metrics = _step.finish(state, grads, batch_stats, terms, **passes)
    return after.replace(extra=extra), metrics
