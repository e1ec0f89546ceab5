"""AdaptSegNet (Tsai et al., CVPR 2018), the TAN baseline of later papers: adversarial learning in
the output space.

    min_G  CE(source) + lambda_adv * l(D(softmax G(target)), source)      max_D  l(D(source), source) + l(D(target), target)

`source_temperature` divides the source's logits, for the loss and for the discriminator, and not
the target's: 1.8 in SPCL's warm-up.
One discriminator per head: heads="single" is the single-level TAN, heads="multi" adds the head at
layer3 with weights of its own. `adversarial.kind="least_squares"` is the authors' `--gan LS`. Both
networks step from the parameters of the iteration's start; source and target pass the network one
after the other, each with its own batch statistics, and both move the running ones
(train_gta2cityscapes_multi.py, pytorch_0.4).
"""

import jax
import jax.numpy as jnp

from dajax import optim
from dajax.losses.adversarial import SOURCE_LABEL, TARGET_LABEL, discriminator_map
from dajax.losses.segmentation import pixel_loss, valid_pixels
from dajax.models.apply import (
    discriminate,
    forward_segmenter,
    init_discriminator,
    init_network,
)
from dajax.parallel import masked_mean, total
from dajax.state import TrainState

MAIN, AUX = "discriminator", "discriminator_aux"


def init(rng, images, *, config, model, num_images):
    """See dajax.methods. Networks: segmenter, discriminator and, with two heads, discriminator_aux."""
    del num_images
    params, batch_stats = init_network(rng, images, model=model)
    for i, name in enumerate([MAIN, AUX][: model.num_heads]):
        rng_d = jax.random.fold_in(rng, i + 1)
        params[name] = init_discriminator(
            rng_d, num_classes=model.num_classes, width=config.adversarial.width
        )
    optimizers = _optimizers(config, model, params)
    opt_state = {
        name: optimizer.init({name: params[name]}) for name, optimizer in optimizers.items()
    }
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state=opt_state)


def _optimizers(config, model, params):
    return optim.make_adversarial_optimizers(
        config, params, main=model.network, frozen=model.frozen_parameters()
    )


def plan(state, *, data, config):
    """Labelled source images, rare classes drawn more often where the config says so (SPCL's
    warm-up), and target images.
    """
    del state
    size = config.batch_size
    source = (
        data.class_balanced(size)
        if config.class_balanced
        else data.shuffled_with_labels("source", size)
    )
    return {"source": source, "target": data.shuffled("target", size)}


def _judged(params, heads, name, part, label, config, axis_name):
    """Mean loss of one discriminator on one domain's predictions, against `label`."""
    logits = discriminate(params[name], heads[name], width=config.adversarial.width)
    losses = discriminator_map(logits, label, config.adversarial.kind)  # [N, h, w]
    return masked_mean(
        losses, jnp.broadcast_to(part["mask"][:, None, None], losses.shape), axis_name
    )


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the segmenter and of its discriminators.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask. The target's predictions are judged at config.target_hw.
    """
    del rng  # nothing here is random
    source, target = batch["source"], batch["target"]
    labels, valid = source["label"], valid_pixels(source["label"], source["mask"])
    adversarial = config.adversarial
    discriminators = {name: tree for name, tree in state.params.items() if name != model.network}
    weights = {MAIN: adversarial.weight, AUX: adversarial.aux_weight}

    def forward(segmenter, batch_stats, part, size_hw, temperature=1.0):
        main, aux, batch_stats = forward_segmenter(
            model,
            {model.network: segmenter},
            batch_stats,
            part,
            size_hw=size_hw,
            domain=config.target_bn,
            axis_name=axis_name,
        )
        heads = (
            {MAIN: main / temperature}
            if aux is None
            else {MAIN: main / temperature, AUX: aux / temperature}
        )
        return heads, {name: jax.nn.softmax(logits) for name, logits in heads.items()}, batch_stats

    def supervised(segmenter):
        heads, probabilities, batch_stats = forward(
            segmenter, state.batch_stats, source, labels.shape[1:], config.source_temperature
        )
        terms = {
            name: masked_mean(pixel_loss(logits, labels, config.loss), valid, axis_name)
            for name, logits in heads.items()
        }
        return terms[MAIN] + config.loss.aux_weight * terms.get(AUX, 0.0), (
            terms[MAIN],
            probabilities,
            batch_stats,
        )

    def fooling(segmenter, batch_stats):
        _, probabilities, batch_stats = forward(
            segmenter, batch_stats, target, tuple(config.target_hw)
        )
        terms = {
            name: _judged(
                discriminators, probabilities, name, target, SOURCE_LABEL, config, axis_name
            )
            for name in probabilities
        }
        return sum(weights[name] * term for name, term in terms.items()), (
            terms,
            probabilities,
            batch_stats,
        )

    def discriminating(discriminators, source_heads, target_heads):
        terms = {
            name: (
                0.5
                * (
                    _judged(
                        discriminators, source_heads, name, source, SOURCE_LABEL, config, axis_name
                    )
                    + _judged(
                        discriminators, target_heads, name, target, TARGET_LABEL, config, axis_name
                    )
                )
            )
            for name in discriminators
        }
        return sum(terms.values()), terms

    # Two gradients instead of one of the sum: the source's activations are gone before the target's
    # are made.
    segmenter = state.params[model.network]
    (seg_loss, (seg, source_heads, stats)), seg_grads = jax.value_and_grad(
        supervised, has_aux=True
    )(segmenter)
    (adv_loss, (adv, target_heads, stats)), adv_grads = jax.value_and_grad(fooling, has_aux=True)(
        segmenter, stats
    )
    (_, judged), judge_grads = jax.value_and_grad(discriminating, has_aux=True)(
        discriminators, source_heads, target_heads
    )

    grads = {model.network: jax.tree.map(jnp.add, seg_grads, adv_grads), **judge_grads}
    optimizers = _optimizers(config, model, state.params)
    metrics = (
        {"loss": seg_loss + adv_loss, "segmentation": seg}
        | {f"adversarial_{name}": adv[name] for name in adv}
        | judged
    )
    state, norms = optim.apply_network_gradients(optimizers, state, total(grads, axis_name), stats)
    return state, total(metrics, axis_name) | norms
