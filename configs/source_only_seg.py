"""Source only, for segmentation: the floor of every table, and the oracle that bounds it.

  python run.py --config=source_only_seg      embedded scenes: source only, AdaBN, oracle
  python run.py --config=source_only_seg:gta5_to_cityscapes,source_root=A,target_root=B,weights=FILE
  ...,backbone=vgg16       one of the networks of configs/adaptsegnet.py
  ...,settings=paper       every parameter stepped once, where AdaptSegNet's released code repeats
                           those of a ResNet

The scenes take minutes on two cores. A and B are the folders of the data sets. FILE is
DeepLab_resnet_pretrained_init-f81d91e8.pth, with backbone=vgg16 vgg16-00b39a1b-updated.pth:
configs/adaptsegnet.py says where they are to be had; weights=none stands for random ones.

Published, ResNet-101: GTA5 -> Cityscapes 36.6 mIoU, SYNTHIA -> Cityscapes 38.6 over 13 classes
(CLAN, tables 1 and 2); VGG-16 17.9 and 20.2. Users of the released code measured 24-31 when the
target was really left out, and 41 when target images moved the BN statistics (AdaptSegNet issues
25, 35, 81). Not reproduced here yet; 150,000 steps: about a day on one modern GPU, estimated, not
measured.
"""

from dajax.recipes import adaptsegnet
from dajax.recipes.base import deeplab, scenes
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": ()} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "settings")
)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("source_only_seg", arg, VARIANTS)
    if "vgg" in arg.backbone and arg.settings == "paper":
        raise ValueError(
            f"settings=paper: changes nothing for backbone {arg.backbone}, whose parameters nobody"
            " repeats; leave it out"
        )
    if arg.variant == "scenes":
        return on_scenes(arg)
    config = seg_base.segmentation(
        arg.name,
        model=deeplab.network(arg.backbone, "single", arg.weights),
        data=adaptsegnet.frames(arg),
    )
    # AdaptSegNet's numbers without its adversary: train_gta2cityscapes_multi.py
    config.source_only = seg_base.supervised(
        steps=150_000,
        batch_size=1,
        loss=dict(kind="cross_entropy", aux_weight=0.1),
        optimizer=deeplab.released_sgd(
            arg.backbone, 2.5e-4, settings=arg.settings, horizon_steps=250_000
        ),
    )
    config.stages = ("source_only",)
    return config


def on_scenes(arg):
    """Floor and bound for the small network."""
    config = scenes.start(arg.name, "single")
    rows = dict(
        source_only=scenes.supervised("source", "single"),
        adabn=scenes.adabn(),
        oracle=scenes.supervised("target", "single"),
    )
    config.update(rows)
    config.stages = tuple(rows)
    return config
