"""Source only, for segmentation: the supervised loss on labelled source images, and not a single
look at the target.

"All adversarial weights zero" is NOT this: target passes would still move the normalisation
statistics (spec/clan.md, section 6). With `domain="target"` the same training on the target's own
labels is the ORACLE of a table, the only use of target labels in training; the feed hands them out
for this stage alone, and the run says so.
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
    """One shuffled batch of labelled images, seen through config.data.transforms[config.transform],
    "" for that of their domain.
    """
    del state
    return {
        "labelled": data.shuffled_with_labels(
            config.domain, config.batch_size, transform=config.transform
        )
    }


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step. batch["labelled"]: image [N, h, w, 3], label int32 [N, H, W], mask bool [N]."""
    del rng  # nothing here is random
    part = batch["labelled"]
    labels, valid = part["label"], valid_pixels(part["label"], part["mask"])

    def loss_fn(params):
        main, aux, batch_stats = forward_segmenter(
            model,
            params,
            state.batch_stats,
            part,
            size_hw=labels.shape[1:],
            domain=config.target_bn,
            axis_name=axis_name,
        )
        loss = masked_mean(pixel_loss(main, labels, config.loss), valid, axis_name)
        if aux is not None:
            loss += config.loss.aux_weight * masked_mean(
                pixel_loss(aux, labels, config.loss), valid, axis_name
            )
        return loss, batch_stats

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    state, grad_norm = segmenter.apply_gradients(
        state, grads, batch_stats, config=config, model=model, axis_name=axis_name
    )
    return state, {"loss": total(loss, axis_name), "grad_norm": grad_norm}
