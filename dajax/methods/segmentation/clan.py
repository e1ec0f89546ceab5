"""CLAN, category-level adversaries (Luo et al., CVPR 2019), as the authors' released code runs it
(CLAN_train.py).

    G:  L_seg(source) + damping * ( lambda_weight' * (cos(W1, W2) + 1)
            + lambda_adv * mean[ (eps + lambda_local M) l(D(target), source) ] )
    D:  mean l(D(source), source) + mean[ (eps + lambda_local sg(M)) l(D(target), target) ]

Two classifiers on one feature map are kept different (cosine of their weights). Where they disagree
about the target, M = 1 - cosine of their probabilities, alignment has not been reached and the
adversary weighs more. D sees the softmax of the SUM of both.

Paper against code, with the option that chooses:

  loss.kind, loss.on        The code's segmentation loss is focal and of each head ("heads"); the
                            paper's is cross-entropy of the summed heads ("ensemble").
  weight_loss_with_biases,  The code's weight loss counts biases too, carries a factor 2 and is
  weight_loss               damped. The + 1 has no gradient and is left out here.
  damped                    The code's damping is 1 - step / horizon, the paper's is 1.
  warmup_steps              In the code the learning rates warm up and M acts only afterwards. With
                            0 it acts from the first step.
  differentiate_map         In the code M carries gradient in G's step, and none in D's.
"""

import jax
import jax.numpy as jnp

from dajax.losses.adversarial import (
    GAN_KINDS,
    SOURCE_LABEL,
    TARGET_LABEL,
    discrepancy_map,
    discriminator_map,
    self_adaptive_weights,
    weight_cosine,
)
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.models.apply import discriminate, split_rng
from dajax.ops.resize import resize_bilinear
from dajax.parallel import masked_mean, share
from dajax.settings import choice

TASK = "segmentation"
DISCRIMINATOR = "discriminator"
LOSS_ON = ("heads", "ensemble")


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: segmenter (with twin heads) and discriminator.

    Raises:
      UserError: the segmenter has no twin heads, or an unknown loss.kind, loss.on or
        adversarial.kind.
    """
    segmenter.check_loss(config)
    choice(config, "loss.on", LOSS_ON)
    choice(config, "adversarial.kind", GAN_KINDS)
    segmenter.check_heads(config, model, "twin")
    return segmenter.initial_adversarial_state(
        rng, images, (DISCRIMINATOR,), config=config, model=model
    )


def plan(_state, *, data, config):
    """A shuffled batch of labelled source images and one of target images."""
    return {
        "source": data.shuffled_with_labels("source", config.batch_size),
        "target": data.shuffled("target", config.batch_size),
    }


def damping(step, config):
    """1 - i / horizon, the factor of the adversarial and the weight loss; 1 where the paper's
    constant weights are asked for.
    """
    return 1.0 - step / (config.horizon_steps or config.steps) if config.damped else jnp.ones(())


def _judged(params, probabilities, part, label, weights, *, config, axis_name):
    """Mean over all pixels of weights * l(D, label); D's map is brought to the size of the
    prediction, as its input was.
    """
    logits = discriminate(params, probabilities, width=config.adversarial.width)
    logits = resize_bilinear(logits[..., None], probabilities.shape[1:3])[..., 0]  # [N, H, W]
    losses = weights * discriminator_map(logits, label, config.adversarial.kind)
    return masked_mean(losses, _step.pixel_mask(part["mask"], losses.shape), axis_name)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the segmenter and of the discriminator, both from the parameters of the
    iteration's start.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask. With the authors' random scale an image's size differs from its label's:
        predictions are made at the label's size, the target's at config.target_hw.
    """
    source, target = batch["source"], batch["target"]
    own, discriminator = state.params[model.network], state.params[DISCRIMINATOR]
    passes = dict(config=config, model=model, axis_name=axis_name)
    fade = damping(state.step.astype(jnp.float32), config)
    # Plain up to and including the warm-up's last step; adaptive from the first step where there is
    # none (the paper).
    is_adaptive = state.step > config.warmup_steps if config.warmup_steps else jnp.ones((), bool)

    # Two gradients instead of one of the sum, and the second after the first: the source's
    # activations are gone before the target's are made.
    (seg, (source_probabilities, stats)), seg_grads = jax.value_and_grad(_supervised, has_aux=True)(
        own, state.batch_stats, source, split_rng(rng, 0), **passes
    )
    target = _step.not_before(seg_grads, target)
    (extra, aux), adv_grads = jax.value_and_grad(_fooling, has_aux=True)(
        own, stats, discriminator, target, split_rng(rng, 1), fade, is_adaptive, **passes
    )
    adv, cosine, disagreement, target_probabilities, stats = aux
    weights = _adaptive_weights(disagreement, is_adaptive, config)
    (_, (real, fake)), judge_grads = jax.value_and_grad(_discriminating, has_aux=True)(
        discriminator,
        batch,
        source_probabilities,
        target_probabilities,
        weights,
        config=config,
        axis_name=axis_name,
    )

    grads = {model.network: jax.tree.map(jnp.add, seg_grads, adv_grads), DISCRIMINATOR: judge_grads}
    mean_map = masked_mean(
        disagreement, _step.pixel_mask(target["mask"], disagreement.shape), axis_name
    )
    shares = {
        "loss": seg + extra,
        "segmentation": seg,
        "adversarial": adv,
        "weight_cosine": cosine,
        "disagreement": mean_map,
        "discriminator_source": real,
        "discriminator_target": fake,
    }
    optimizers = segmenter.adversarial_optimizers(config, model, state.params)
    return _step.finish_networks(
        state, grads, stats, shares, optimizers=optimizers, axis_name=axis_name
    )


def _supervised(own, batch_stats, source, rng, *, config, model, axis_name):
    """G's loss on the source: (share, (probabilities of the summed heads float32 [N, H, W, K],
    batch_stats)).
    """
    seen, batch_stats = segmenter.see(
        {model.network: own},
        batch_stats,
        source,
        segmenter.label_size(source),
        config=config,
        model=model,
        axis_name=axis_name,
        rng=rng,
    )
    both = seen.aux_logits + seen.logits
    if config.loss.on == "ensemble":
        seen = seen._replace(logits=both, aux_logits=None)
    second, first = segmenter.supervised(seen, source, config=config, axis_name=axis_name)
    loss = second if first is None else first + second
    return loss, (jax.nn.softmax(both), batch_stats)


def _fooling(
    own, batch_stats, discriminator, target, rng, fade, is_adaptive, *, config, model, axis_name
):
    """G's loss on the target and on its own heads' weights.

    Args:
      rng: key of this pass.
      fade: of `damping`.
      is_adaptive: bool scalar, whether M weighs the pixels yet.

    Returns:
      (share, (shares of its two terms without weights, M float32 [N, H, W], probabilities float32
        [N, H, W, K], batch_stats)).
    """
    seen, batch_stats = segmenter.see(
        {model.network: own},
        batch_stats,
        target,
        tuple(config.target_hw),
        config=config,
        model=model,
        axis_name=axis_name,
        rng=rng,
    )
    first, second = seen.aux_logits, seen.logits
    disagreement, probabilities = discrepancy_map(first, second), jax.nn.softmax(first + second)
    seen_map = disagreement if config.differentiate_map else jax.lax.stop_gradient(disagreement)
    weights = _adaptive_weights(seen_map, is_adaptive, config)
    adv = _judged(
        discriminator,
        probabilities,
        target,
        SOURCE_LABEL,
        weights,
        config=config,
        axis_name=axis_name,
    )
    cosine = share(
        weight_cosine(*model.twin_heads(own), with_biases=config.weight_loss_with_biases), axis_name
    )
    loss = fade * (config.adversarial.weight * adv + config.weight_loss * cosine)
    return loss, (adv, cosine, disagreement, probabilities, batch_stats)


def _discriminating(
    discriminator,
    batch,
    source_probabilities,
    target_probabilities,
    weights,
    *,
    config,
    axis_name,
):
    """D's loss: (share, shares of its term on the source and of that on the target, whose pixels
    have `weights`, float32 [N, H, W]).
    """
    source, target, shared = (
        batch["source"],
        batch["target"],
        dict(config=config, axis_name=axis_name),
    )
    plain = jnp.ones(())
    real = _judged(discriminator, source_probabilities, source, SOURCE_LABEL, plain, **shared)
    fake = _judged(discriminator, target_probabilities, target, TARGET_LABEL, weights, **shared)
    return real + fake, (real, fake)


def _adaptive_weights(disagreement, is_adaptive, config):
    """eps + lambda_local M of every pixel, or ones as long as M does not weigh yet: like M."""
    weights = self_adaptive_weights(
        disagreement,
        epsilon=config.adversarial.epsilon,
        local_weight=config.adversarial.local_weight,
    )
    return jnp.where(is_adaptive, weights, jnp.ones_like(weights))
