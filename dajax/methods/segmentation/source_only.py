"""Source only, for segmentation: the supervised loss on labelled source images, and not a single
look at the target.

An adversarial method at weight 0 is NOT this: its target passes would still move the normalisation
statistics. With `domain="target"` the same training on the target's own labels is the ORACLE of a
table, the only use of target labels in training; the feed hands them out for this stage alone, and
the run says so.
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
    """One shuffled batch of labelled images, seen through config.data.transforms[config.transform],
    "" for that of their domain.
    """
    return {
        "labelled": data.shuffled_with_labels(
            config.domain, config.batch_size, transform=config.transform
        )
    }


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step. batch["labelled"]: image [N, h, w, 3], label int32 [N, H, W], mask bool [N]."""

    def loss_of(main, aux):
        return main if aux is None else main + config.loss.aux_weight * aux

    return segmenter.step_on_labels(
        state, batch["labelled"], loss_of, rng, config=config, model=model, axis_name=axis_name
    )
