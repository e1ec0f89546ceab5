"""Self-training: the supervised loss on target images with the pseudo-labels of a stage before
(SPCL's third stage; its eq. 9).

The released configuration: trained normalisation, random scale and crop, colour jitter
(configs/spcl.py). The source is not shown.
"""

import jax

from dajax.losses.segmentation import pixel_loss, valid_pixels
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.models.apply import forward_segmenter
from dajax.parallel import masked_mean, total


def init(rng, images, *, config, model, num_images):
    """See dajax.methods."""
    del num_images
    return segmenter.initial_state(rng, images, config=config, model=model)


def plan(state, *, data, config):
    """One shuffled batch of target images with the pseudo-labels of config.labels_from, augmented
    by config.data.transforms[config.transform].
    """
    del state
    return {
        "target": data.with_pseudo_labels(config.batch_size, config.labels_from, config.transform)
    }


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step. batch["target"]: image [N, h, w, 3], label int32 [N, H, W], the pseudo-labels, mask
    bool [N].
    """
    del rng  # nothing here is random
    part = batch["target"]
    labels, valid = part["label"], valid_pixels(part["label"], part["mask"])

    def loss_fn(params):
        logits, _, batch_stats = forward_segmenter(
            model,
            params,
            state.batch_stats,
            part,
            size_hw=labels.shape[1:],
            domain=config.target_bn,
            axis_name=axis_name,
        )
        return masked_mean(pixel_loss(logits, labels, config.loss), valid, axis_name), batch_stats

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    state, grad_norm = segmenter.apply_gradients(
        state, grads, batch_stats, config=config, model=model, axis_name=axis_name
    )
    return state, {"loss": total(loss, axis_name), "grad_norm": grad_norm}
