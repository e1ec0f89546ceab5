"""Source only, for segmentation: the supervised loss on labelled source images, and not a single
look at the target.

An adversarial method at weight 0 is NOT this: its target passes would still move the normalisation
statistics. With `domain="target"` the same training on the target's own labels is the ORACLE of a
table, the only use of target labels in training; the feed hands them out for this stage alone, and
the run says so.

    CE(source) + lovasz_weight * Lovasz(source)

is PLCA's source only (the METHOD 'source_only' of its code), the mean over `accumulate`
micro-batches, with half-pixel centres where logits come to the size of the labels (half_pixel).
"""

import jax

from dajax.losses.lovasz import lovasz_softmax
from dajax.losses.segmentation import valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation._micro_batches import accumulated_gradients
from dajax.models.apply import forward_train, split_rng
from dajax.parallel import gather, share

TASK = "segmentation"


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: unknown loss.kind; Lovasz with HRDA's detail crop, which it does not train.
    """
    segmenter.check_loss(config)
    if config.lovasz_weight:
        segmenter.check_whole(config, model)
    return segmenter.initial_state(rng, images, config=config, model=model)


def plan(_state, *, data, config):
    """config.accumulate micro-batches of shuffled labelled images, seen through
    config.data.transforms[config.transform], "" for that of their domain.
    """
    return {
        "labelled": data.shuffled_with_labels(
            config.domain, config.batch_size, config.accumulate, transform=config.transform
        )
    }


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step. batch["labelled"]: image [accumulate * N, h, w, 3], label int32 [.., H, W], mask
    bool.
    """

    def loss_fn(params, batch_stats, part, number):
        key = rng if config.accumulate == 1 else split_rng(rng, number)
        output, batch_stats = forward_train(
            model,
            params,
            batch_stats,
            part,
            norm_set=config.target_bn,
            axis_name=axis_name,
            rng=key,
        )
        align_corners = model.align_corners and not config.half_pixel
        seen = segmenter.at_size(output, segmenter.label_size(part), align_corners=align_corners)
        main, aux = segmenter.supervised(seen, part, config=config, axis_name=axis_name)
        loss = main if aux is None else main + config.loss.aux_weight * aux
        terms = {}
        if config.lovasz_weight:
            valid = valid_pixels(part["label"], part["mask"])
            whole = (jax.nn.softmax(seen.logits), part["label"], valid)
            of_batch = lovasz_softmax(*(gather(x, axis_name) for x in whole))
            terms = {"segmentation": loss, "lovasz": share(of_batch, axis_name)}
            loss = loss + config.lovasz_weight * terms["lovasz"]
        return loss, (terms | {"loss": loss}, batch_stats)

    grads, batch_stats, terms = accumulated_gradients(
        loss_fn, state, batch["labelled"], config.accumulate
    )
    return _step.finish(
        state, grads, batch_stats, terms, config=config, model=model, axis_name=axis_name
    )
