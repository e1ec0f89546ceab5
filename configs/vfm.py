"""VFM-UDA (Englert, Piva, Kerssies, de Geus, Dubbelman, CVPR workshops 2024): mixing across domains
and masked images on a vision foundation model, DINOv2.

  python run.py --config=vfm                embedded scenes with the control
  python run.py --config=vfm:ablations      also without each of its parts
  python run.py --config=vfm:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=vfm:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=vfm:synthia_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=dinov2_vitl14      or dinov2_vits14; the three with _reg; dinov3_vits16, _vitb16 and
                                  _vitl16. Own folders: network=dinov2_vitb14,weights=FILE

FILE is dinov2_vitb14_pretrain.pth of https://github.com/facebookresearch/dinov2, or
facebook/dinov2-base of Hugging Face, or timm's; weights=none stands for random ones. On the scenes
a tiny transformer trains from random weights, which learns less from 400 pictures than the small
network of the other recipes: the rows compare with each other alone.

The loop is DAFormer's and MIC's with these differences: DINOv2 and a light head; no feature
distance, which hurts here; whole tokens are masked, by DINOv2's mask token; pseudo-labels are of an
image and its mirror; torchvision's colour jitter, drawn for each image; weak jitter of the source
too; crops of frames whose shorter edge is drawn, padded where that is smaller than the crop.

Published, mIoU of the last step: GTA5 -> Cityscapes 77.1 with ViT-B and 78.4 with ViT-L in the
README (79.0 in the paper). With such networks source only is far stronger, too, and the gain of any
adaptation smaller: look at that row first. 8 images a domain and step, 40,000 steps: ViT-L took
about 20 hours on four A100. Not reproduced here yet.

Not as in the released code: half of the classes are of the whole batch, there of a GPU's share of
it; a crop is drawn 11 times at most until it shows enough of its rare class, each with ten more
tries for cat_max_ratio, there 20 times for both at one scale; the mask of the margins is mirrored
with the target's image, there it stays; float32, there half precision.
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import domains as sets
from dajax.recipes.base import mixing, scenes, vit
from dajax.recipes.base import segmentation as seg_base

REAL_VARIANTS = ("gta5_to_cityscapes", "synthia_to_cityscapes")
VARIANTS = {
    "scenes": ("ablations",),
    "own": (*sets.OWN_KEYS, "ablations"),
} | dict.fromkeys(REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone"))
CROP_HW = (1024, 1024)  # img_size
FRAME_HW = (1024, 2048)  # of Cityscapes
# img_size times min_scale 0.9 to max_scale 1.1 of datasets/transform/train/uda_transform.py:
# img_size is 1,440 for GTA5 and 1,024 for Cityscapes (uda_multitrain_multival_datamodule.py there);
# SYNTHIA's and Synscapes' are those of the authors' vfm-uda-plusplus.
TARGET_EDGE = (922, 1126)
SOURCE_EDGE = {"gta5": (1296, 1584), "synthia": TARGET_EDGE}
STEPS, BATCH_SIZE = 40_000, 8  # uda_vit_vanilla.yaml
# pseudo_weight_ignore_top, _bottom, _left, _right of uda_transform.py
MARGINS = {"cityscapes": (0.03, 0.25, 0.03, 0.03)}
# rcs_class_temp, rcs_min_pixels and rcs_min_crop_ratio, 1024^2 / (512 * 1024), of
# datasets/rare_class_sampler_dataset.py
RARE_CLASSES = dict(temperature=0.05, min_pixels=3000, min_crop_ratio=2.0)
JITTER = 0.2  # color_jitter_strength of training/uda_vit/uda_vit_generic.py
MASKED = dict(weight=1.0, ratio=0.7, block=0, images="target", strong_view=True)
# Ours, of the scenes: a head that begins at random has nobody's rate to take, and 500 steps no room
# for 1,500 of warm-up.
SCENES_LR, SCENES_WARMUP = 1e-3, 50
ABLATIONS = dict(
    no_masks={"masked.weight": 0.0},
    no_mirror={"mirrored_labels": False},
    no_weak_view={"weak_view.probability": 0.0},
)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(
        "vfm", arg, VARIANTS, backbone=vit.BACKBONES, network=("small", *vit.BACKBONES)
    )
    if arg.is_small:
        return with_small_network(arg)
    config = seg_base.segmentation(
        arg.name, model=vit.network(arg.backbone, arg.weights), data=frames(arg)
    )
    look_through_windows(config, CROP_HW[0] if not arg.size_hw else min(arg.size_hw))
    full = authors(config, arg)
    if arg.variant == "own":
        add_rows(config, arg, full, vit.optimizer(BATCH_SIZE))
        return config
    config.vfm = full
    config.stages = ("vfm",)
    seg_base.evaluate_every(config, 1000)  # val_check_interval
    return config


def frames(arg):
    """Square crops of frames whose shorter edge is drawn, mirrored or not; SYNTHIA with 19 classes,
    of which its labels have 16.
    """
    whole = (
        seg_base.whole_frames(arg.size_hw or FRAME_HW) | base.IMAGENET_RGB | dict(resize="bilinear")
    )

    def crop(edge):
        return whole | seg_base.crops(arg, CROP_HW, edge) | dict(flip=True, pad=True)

    # own folders: frames of the sizes of the target's
    source_edge = SOURCE_EDGE.get(arg.source_set, TARGET_EDGE)
    transforms = dict(
        source=crop(source_edge) | dict(max_class_share=0.75),  # cat_max_ratio
        target=crop(TARGET_EDGE),
        evaluation=whole,
    )
    return dict(sets.domains(arg, synthia_space="synthia_clan"), transforms=transforms)


def look_through_windows(config, side):
    """slide_inference_pre_cropped of training/utils/inference_collection.py: square windows half a
    side apart, whose class probabilities are averaged.
    """
    config.evaluation.align_corners = False
    config.evaluation.window.update(
        crop=(side, side), stride=(side // 2, side // 2), average="softmax"
    )


def authors(config, arg):
    """uda_vit_vanilla.yaml and training/uda_vit/uda_vit_generic.py: the released settings."""
    rare = dict(RARE_CLASSES)
    if arg.size_hw:  # own folders: the numbers of pixels in proportion to a crop's
        rare["min_pixels"] = int(
            RARE_CLASSES["min_pixels"] * min(arg.size_hw) ** 2 / CROP_HW[0] ** 2
        )
    return stage(
        config,
        steps=STEPS,
        batch_size=BATCH_SIZE,
        optimizer=vit.optimizer(BATCH_SIZE),
        rare_classes=rare,
        margins=MARGINS.get(arg.variant.partition("_to_")[2], ()),
        teacher=mixing.DAFORMER_TEACHER,  # ema_alpha
    )


def stage(config, **settings):
    """What the scenes and the real data share."""
    full = mixing.stage(
        config.data.transforms.source,
        jitter=JITTER,
        classes_of="batch",
        source_mean="valid",  # torch's cross_entropy with ignore_index
        mirrored_labels=True,
        strong_for="image",
        masked=MASKED,
        **settings,
    )
    # torchvision's ColorJitter; random_aug_weak's is applied with probability 0.9
    return seg_base.without(
        full, **{"color_jitter.kind": "torchvision", "weak_view.probability": 0.9}
    )


def with_small_network(arg):
    """For a tiny transformer from random weights."""
    config = seg_base.segmentation(
        arg.name, model=vit.network("vit_tiny", ""), data=scenes.data(arg)
    )
    config.evaluation.align_corners = False
    optimizer = vit.optimizer(
        scenes.BATCH_SIZE, lr=SCENES_LR, warmup_steps=SCENES_WARMUP, lr_multipliers=()
    )
    full = stage(
        config,
        optimizer=optimizer,
        # 500 steps are half of what a momentum of 0.999 needs to come into force
        teacher=dict(mixing.DAFORMER_TEACHER, momentum=0.99),
        **scenes.ADAPTATION,
    )
    add_rows(config, arg, full, optimizer, steps=scenes.STEPS, batch_size=scenes.BATCH_SIZE)
    return config


def add_rows(config, arg, full, optimizer, *, steps=STEPS, batch_size=BATCH_SIZE):
    """The rows of a table: source only, control, the method, its ablations, the oracle.

    Args:
      full: the method's stage.
      optimizer, steps, batch_size: of source only and the oracle.
    """
    source_only = vit.supervised(steps=steps, batch_size=batch_size, optimizer=optimizer)

    def add_stages(config, arg, control, **methods):
        vit.add_stages(config, arg, control, source_only=source_only, **methods)

    mixing.add_rows(add_stages, config, arg, ABLATIONS, vfm=full)
