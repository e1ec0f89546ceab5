"""FADA (Wang, Shen, Zhang, Duan, Mei, ECCV 2020): adversarial alignment of features by class.

    min_G  CE(z_s / T) + weight mean -sum_c a_t[c] log q(f_t)[c]
    max_D  1/2 mean -sum_c a_s[c] log q(f_s)[c]  +  1/2 mean -sum_c a_t[c] log q(f_t)[K + c]

q is a softmax over 2 K classes, of the source and of the target, for every position of a feature
map. Soft labels a = min(softmax(z / T), cap) are constants; they are not made to sum to 1 again,
and the source's pixels without a label have one, too (train_adv.py). The segmenter's adversarial
gradient reaches the features and no classifier. All maps are compared at the size of the labels.

Both networks step from the parameters of the iteration's start. Source and target pass the network
one after the other.
"""

import jax
import jax.numpy as jnp

from dajax.losses.soft_labels import soft_cross_entropy_map
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.models.apply import (
    discriminate_pixels,
    feature_width,
    init_network,
    init_pixel_discriminator,
    split_rng,
)
from dajax.ops.resize import resize_bilinear
from dajax.parallel import masked_mean
from dajax.state import TrainState

TASK = "segmentation"
JUDGE = "discriminator"


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: segmenter and discriminator.

    Raises:
      UserError: unknown loss.kind, two heads, or HRDA.
    """
    segmenter.check_loss(config)
    segmenter.check_heads(config, model, "single")
    segmenter.check_whole(config, model)
    params, batch_stats = init_network(rng, images, model=model)
    params[JUDGE] = init_pixel_discriminator(
        jax.random.fold_in(rng, 1),
        num_inputs=feature_width(model, params, batch_stats, images),
        num_classes=model.num_classes,
        width=config.adversarial.width,
    )
    optimizers = segmenter.adversarial_optimizers(config, model, params)
    opt_state = _step.initial_opt_states(optimizers, _step.one_part_each(params))
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state=opt_state)


def plan(_state, *, data, config):
    """Labelled source images and target images."""
    size = config.batch_size
    source, target = data.shuffled_with_labels("source", size), data.shuffled("target", size)
    return {"source": source, "target": target}


def soft_labels(logits, *, config):
    """min(softmax(z / T), cap), constant: float32 [N, H, W, K] of logits of that shape."""
    probabilities = jax.nn.softmax(jax.lax.stop_gradient(logits) / config.temperature)
    return jnp.minimum(probabilities, config.cap)


def judged(params, features, labels, column, mask, *, config, model, axis_name):
    """This device's share of the mean over pixels of -sum_c a_c log q_c.

    Args:
      params: of the discriminator.
      features: float32 [N, h, w, D]; labels: float32 [N, H, W, K], a.
      column: 0 for the source's classes of q, 1 for the target's.
      mask: bool [N].
    """
    num_classes = labels.shape[-1]
    logits = discriminate_pixels(
        params, features, num_classes=num_classes, width=config.adversarial.width
    )
    logits = resize_bilinear(logits, labels.shape[1:3], align_corners=model.align_corners)
    others = jnp.zeros_like(labels)
    wide = jnp.concatenate([others, labels] if column else [labels, others], -1)
    values = soft_cross_entropy_map(logits, wide)
    return masked_mean(values, _step.pixel_mask(mask, values.shape), axis_name)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the segmenter and of the discriminator.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask. The target's features are judged at config.target_hw.
    """
    source, target = batch["source"], batch["target"]
    shared = dict(config=config, model=model, axis_name=axis_name)
    judge, own = state.params[JUDGE], state.params[model.network]

    def supervised(own):
        params, size_hw = {model.network: own}, segmenter.label_size(source)
        seen, stats = segmenter.see(
            params, state.batch_stats, source, size_hw, rng=split_rng(rng, 0), **shared
        )
        labels = soft_labels(seen.logits, config=config)
        seen = seen._replace(logits=seen.logits / config.temperature)
        loss, _ = segmenter.supervised(seen, source, config=config, axis_name=axis_name)
        return loss, (seen.features, labels, stats)

    def fooling(own, stats):
        params, size_hw = {model.network: own}, tuple(config.target_hw)
        seen, stats = segmenter.see(params, stats, target, size_hw, rng=split_rng(rng, 1), **shared)
        labels = soft_labels(seen.logits, config=config)
        term = judged(judge, seen.features, labels, 0, target["mask"], **shared)
        return config.adversarial.weight * term, (term, seen.features, labels, stats)

    def discriminating(judge, of_source, of_target):
        source_term = judged(judge, *of_source, 0, source["mask"], **shared)
        target_term = judged(judge, *of_target, 1, target["mask"], **shared)
        return 0.5 * (source_term + target_term)

    # Two gradients, the second after the first: see adaptsegnet.py.
    (seg_loss, (*of_source, stats)), seg_grads = jax.value_and_grad(supervised, has_aux=True)(own)
    target = _step.not_before(seg_grads, target)
    (adv_loss, (fooled, *of_target, stats)), adv_grads = jax.value_and_grad(fooling, has_aux=True)(
        own, stats
    )
    judge_loss, judge_grads = jax.value_and_grad(discriminating)(judge, of_source, of_target)
    grads = {model.network: jax.tree.map(jnp.add, seg_grads, adv_grads), JUDGE: judge_grads}
    return _step.finish_networks(
        state,
        grads,
        stats,
        {"loss": seg_loss + adv_loss, "segmentation": seg_loss, "adversarial": fooled}
        | {JUDGE: judge_loss},
        optimizers=segmenter.adversarial_optimizers(config, model, state.params),
        axis_name=axis_name,
    )
