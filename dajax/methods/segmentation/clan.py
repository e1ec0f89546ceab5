"""CLAN, category-level adversaries (Luo et al., CVPR 2019), as the authors' released code runs it
(CLAN_train.py).

    G:  L_seg(source) + damping * ( lambda_weight' * (cos(W1, W2) + 1) + lambda_adv * mean[ (eps + lambda_local M) l(D(target), source) ] )
    D:  mean l(D(source), source) + mean[ (eps + lambda_local sg(M)) l(D(target), target) ]

Two classifiers on one feature map are kept different (cosine of their weights); where they disagree
about the target, M = 1 - cosine of their probabilities, alignment has not been reached and the
adversary weighs more. D sees the softmax of the SUM of both.

Paper against code (spec/clan.md, section 7), with the option that chooses: the segmentation loss is
focal and of each head, not cross-entropy of the summed heads (loss.kind; loss.on, "heads" or
"ensemble"); the weight loss counts biases too, carries a factor 2 and is damped
(weight_loss_with_biases, weight_loss; the + 1 has no gradient); damping = 1 - step / horizon
(damped); the learning rates warm up and M acts only after it (warmup_steps; with 0 it acts from the
first step); M carries gradient in G's step, and none in D's (differentiate_map).
"""

import jax
import jax.numpy as jnp

from dajax import optim
from dajax.errors import UserError
from dajax.losses.adversarial import (
    SOURCE_LABEL,
    TARGET_LABEL,
    discrepancy_map,
    discriminator_map,
    self_adaptive_weights,
    weight_cosine,
)
from dajax.losses.segmentation import pixel_loss, valid_pixels
from dajax.models.apply import (
    discriminate,
    forward_segmenter,
    init_discriminator,
    init_network,
)
from dajax.ops.resize import resize_bilinear
from dajax.parallel import masked_mean, share, total
from dajax.state import TrainState

DISCRIMINATOR = "discriminator"
HEADS = ("layer5", "layer6")  # the two classifiers, in the authors' names
LOSS_ON = ("heads", "ensemble")


def init(rng, images, *, config, model, num_images):
    """See dajax.methods. Networks: segmenter (with twin heads) and discriminator.

    Raises:
      UserError: the segmenter has no twin heads, or an unknown loss.on.
    """
    del num_images
    if config.loss.on not in LOSS_ON:
        raise UserError(f"unknown loss.on '{config.loss.on}'; known: {', '.join(LOSS_ON)}")
    if model.heads != "twin":
        raise UserError(
            "clan needs two classifiers on one feature map: set config.model.heads='twin', found"
            f" '{model.heads}'"
        )
    params, batch_stats = init_network(rng, images, model=model)
    params[DISCRIMINATOR] = init_discriminator(
        jax.random.fold_in(rng, 1), num_classes=model.num_classes, width=config.adversarial.width
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
    """A shuffled batch of labelled source images and one of target images."""
    del state
    return {
        "source": data.shuffled_with_labels("source", config.batch_size),
        "target": data.shuffled("target", config.batch_size),
    }


def damping(step, config):
    """1 - i / horizon, the factor of the adversarial and the weight loss; 1 where the paper's
    constant weights are asked for.
    """
    return 1.0 - step / (config.horizon_steps or config.steps) if config.damped else jnp.ones(())


def _judged(params, probabilities, part, label, weights, config, axis_name):
    """Mean over all pixels of weights * l(D, label); D's map is brought to the size of the
    prediction, as its input was.
    """
    logits = discriminate(params, probabilities, width=config.adversarial.width)
    logits = resize_bilinear(logits[..., None], probabilities.shape[1:3])[..., 0]  # [N, H, W]
    losses = weights * discriminator_map(logits, label, config.adversarial.kind)
    return masked_mean(
        losses, jnp.broadcast_to(part["mask"][:, None, None], losses.shape), axis_name
    )


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the segmenter and of the discriminator, both from the parameters of the
    iteration's start.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask. With the authors' random scale an image's size differs from its label's:
        predictions are made at the label's size, the target's at config.target_hw.
    """
    del rng  # nothing here is random
    source, target, adversarial = batch["source"], batch["target"], config.adversarial
    labels, valid = source["label"], valid_pixels(source["label"], source["mask"])
    fade = damping(state.step.astype(jnp.float32), config)
    # Plain up to and including the warm-up's last step; adaptive from the first step where there is
    # none (the paper).
    is_adaptive = state.step > config.warmup_steps if config.warmup_steps else jnp.ones((), bool)

    def forward(segmenter, batch_stats, part, size_hw):
        return forward_segmenter(
            model,
            {model.network: segmenter},
            batch_stats,
            part,
            size_hw=size_hw,
            domain=config.target_bn,
            axis_name=axis_name,
        )

    def adaptive_weights(disagreement):
        weights = self_adaptive_weights(
            disagreement, epsilon=adversarial.epsilon, local_weight=adversarial.local_weight
        )
        return jnp.where(is_adaptive, weights, jnp.ones_like(weights))

    def supervised(segmenter):
        second, first, batch_stats = forward(segmenter, state.batch_stats, source, labels.shape[1:])
        judged = (first, second) if config.loss.on == "heads" else (first + second,)
        loss = sum(
            masked_mean(pixel_loss(logits, labels, config.loss), valid, axis_name)
            for logits in judged
        )
        return loss, (jax.nn.softmax(first + second), batch_stats)

    def fooling(segmenter, batch_stats):
        second, first, batch_stats = forward(
            segmenter, batch_stats, target, tuple(config.target_hw)
        )
        disagreement, probabilities = discrepancy_map(first, second), jax.nn.softmax(first + second)
        weights = adaptive_weights(
            disagreement if config.differentiate_map else jax.lax.stop_gradient(disagreement)
        )
        adv = _judged(
            state.params[DISCRIMINATOR],
            probabilities,
            target,
            SOURCE_LABEL,
            weights,
            config,
            axis_name,
        )
        cosine = share(
            weight_cosine(
                *(segmenter[head] for head in HEADS), with_biases=config.weight_loss_with_biases
            ),
            axis_name,
        )
        loss = fade * (adversarial.weight * adv + config.weight_loss * cosine)
        return loss, (adv, cosine, disagreement, probabilities, batch_stats)

    def discriminating(discriminator, source_probabilities, target_probabilities, disagreement):
        real = _judged(
            discriminator,
            source_probabilities,
            source,
            SOURCE_LABEL,
            jnp.ones(()),
            config,
            axis_name,
        )
        fake = _judged(
            discriminator,
            target_probabilities,
            target,
            TARGET_LABEL,
            adaptive_weights(disagreement),
            config,
            axis_name,
        )
        return real + fake, (real, fake)

    # Two gradients instead of one of the sum: the source's activations are gone before the target's
    # are made.
    segmenter = state.params[model.network]
    (seg, (source_probabilities, stats)), seg_grads = jax.value_and_grad(supervised, has_aux=True)(
        segmenter
    )
    (extra, aux), adv_grads = jax.value_and_grad(fooling, has_aux=True)(segmenter, stats)
    adv, cosine, disagreement, target_probabilities, stats = aux
    (_, (real, fake)), judge_grads = jax.value_and_grad(discriminating, has_aux=True)(
        state.params[DISCRIMINATOR], source_probabilities, target_probabilities, disagreement
    )

    grads = {model.network: jax.tree.map(jnp.add, seg_grads, adv_grads), DISCRIMINATOR: judge_grads}
    mean_map = masked_mean(
        disagreement, jnp.broadcast_to(target["mask"][:, None, None], disagreement.shape), axis_name
    )
    metrics = {
        "loss": seg + extra,
        "segmentation": seg,
        "adversarial": adv,
        "weight_cosine": cosine,
        "disagreement": mean_map,
        "discriminator_source": real,
        "discriminator_target": fake,
    }
    optimizers = _optimizers(config, model, state.params)
    state, norms = optim.apply_network_gradients(optimizers, state, total(grads, axis_name), stats)
    return state, total(metrics, axis_name) | norms
