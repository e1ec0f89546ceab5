"""What the recipes of cross_domain_mixing share: its settings with every switch, as DACS, DAFormer
and MIC have them, and the rows of a table.
"""

from dajax.recipes.base import segmentation as seg_base

# Train ids of things: traffic light, traffic sign, and person to bicycle
# (imnet_feature_dist_classes of configs/_base_/uda/dacs_a999_fdthings.py in MIC's repository). The
# scenes have the same ids.
THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
NORMALISATION = ("channels", "divisor", "mean", "std")
# Teachers: alpha_teacher of DACS's trainUDA.py, averaged after the step; alpha of DAFormer's
# dacs_a999_fdthings.py, averaged before it.
DACS_TEACHER = dict(momentum=0.99, begins_with="first_update")
DAFORMER_TEACHER = dict(momentum=0.999, begins_with="initial")


def stage(transform, *, teacher, jitter, classes_of, **settings):
    """A stage of cross_domain_mixing: DACS's terms, with DAFormer's and MIC's off.

    Args:
      transform: of config.data.transforms, for how images are normalised.
      teacher: DACS_TEACHER or DAFORMER_TEACHER.
      jitter: strength of the colour jitter, the same for all four operations.
      classes_of: of mix.
      **settings: steps, batch_size, optimizer; and what differs from the values below.
    """
    common = dict(
        threshold=0.968,  # trainUDA.py of DACS, pseudo_threshold of DAFormer
        weight_of="batch",  # "device" is the released code with several GPUs
        # where pseudo-labels do not count: rows of what the network sees, and shares of a frame
        # (top, bottom, left, right); () for none
        ignore_top=0,
        ignore_bottom=0,
        margins=(),
        mirrored_labels=False,  # VFM-UDA
        source_mean="all",  # mmseg's; "valid": over labelled pixels, DACS
        statistics="passes",  # "target": running statistics of clean target images
        # temperature 0: off. 3000 and 0.5 are DAFormer's for crops of 512x512
        rare_classes=dict(temperature=0.0, min_pixels=3000, min_crop_ratio=0.5),
        teacher=teacher,
        mix=dict(weight=1.0, classes_of=classes_of),
        # MIC; 0.7 is its mask_ratio. block 0: tokens of a vision transformer
        masked=dict(weight=0.0, ratio=0.7, block=64, images="target", strong_view=True),
        # DAFormer; 0.75 is its imnet_feature_dist_scale_min_ratio
        feature_distance=dict(weight=0.0, classes=THINGS, min_share=0.75),
        color_jitter=dict(
            kind="kornia",
            **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), jitter),
            # DAFormer's color_jitter_probability, 0.2, is what its random number must exceed
            probability=0.8,
        ),
        strong_for="batch",  # "image": whether an image is jittered and blurred is its own
        # of source images and of those that are pasted into; VFM-UDA's random_aug_weak
        weak_view=dict(
            brightness=32 / 255, contrast=0.5, saturation=0.5, hue=18 / 360, probability=0.0
        ),
        # utils/transformsgpu.py of DACS: np.random.uniform(0.15, 1.15)
        blur=dict(probability=0.5, sigma=(0.15, 1.15)),
        normalisation={key: transform[key] for key in NORMALISATION},
    )
    return seg_base.stage("cross_domain_mixing", **(common | settings))


def control(full):
    """The step-matched control: the same network, steps and batches, with every loss on the target
    at weight 0. One pass of clean target images moves its running statistics, as in the controls of
    the other methods.
    """
    return seg_base.without(
        full,
        **{"mix.weight": 0.0, "masked.weight": 0.0, "statistics": "target"},
        **{"teacher.momentum": 0.0, "predict_with": "student"},
    )


def ablations(full):
    """{row: the method with one thing left out or changed}, of those that change something."""
    changes = dict(
        no_teacher={"teacher.momentum": 0.0},
        # what is left: pseudo-labels on the strong view of the target, nothing hidden
        no_mixing={"mix.weight": 0.0, "masked.weight": 1.0, "masked.ratio": 0.0},
        no_jitter={"color_jitter.probability": 0.0, "blur.probability": 0.0},
        statistics_of_passes={"statistics": "passes"},
        teacher_predicts={"predict_with": "teacher"},
    )
    rows = {name: seg_base.without(full, **change) for name, change in changes.items()}
    # a recipe as published may have one of them as it is
    return {name: row for name, row in rows.items() if row.to_dict() != full.to_dict()}


def add_rows(add_stages, config, arg, further=None, **method):
    """The method with its control and, where they are asked for, its ablations.

    Args:
      add_stages: of the network's size, as scenes.add_stages.
      further: {row: changes of the method's settings}, ablations of the recipe's own.
      **method: {its stage: settings}.
    """
    ((name, full),) = method.items()
    rows = {name: full}
    if arg.ablations:
        rows |= ablations(full)
        rows |= {row: seg_base.without(full, **change) for row, change in (further or {}).items()}
    add_stages(config, arg, control(full), **rows)
