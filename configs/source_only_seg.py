"""Source only, for segmentation: the floor of every table, and the oracle that bounds it.

  python run.py --config=source_only_seg      embedded scenes: source only, AdaBN, oracle
  python run.py --config=source_only_seg:own,source=DIR,target=DIR,size=96x128    own folders
  python run.py --config=source_only_seg:gta5_to_cityscapes,source_root=A,target_root=B,weights=FILE
  ...,like=plca            source only as that method's authors train: their network, data, schedule
                           and loss; clan, plca (two rows: without and with Lovasz), spcl, bicl
  ...,backbone=vgg16       one of the networks of configs/adaptsegnet.py
  ...,settings=paper       four branches in the head and every parameter stepped once, where
                           AdaptSegNet's released code has two and repeats those of a ResNet

The scenes take minutes on two cores. A and B are the folders of the data sets. FILE is
DeepLab_resnet_pretrained_init-f81d91e8.pth, with backbone=vgg16 vgg16-00b39a1b-updated.pth:
configs/adaptsegnet.py says where they are to be had; weights=none stands for random ones. With like
the file and the backbones are those of the recipe of that name.

Published, ResNet-101: GTA5 -> Cityscapes 36.6 mIoU, SYNTHIA -> Cityscapes 38.6 over 13 classes
(CLAN, tables 1 and 2); VGG-16 17.9 and 20.2; 34.3 and 36.4 over 16 classes (PLCA, with Lovasz),
36.8 and 35.3 (SPCL), 35.2 and 32.5 (BiCL's slides). Users of AdaptSegNet's code measured 24-31
when the target was really left out, and 41 when target images moved the BN statistics (its issues
25, 35, 81). Not reproduced here yet; 150,000 steps: about a day on one modern GPU, estimated, not
measured.
"""

from dajax.recipes import adaptsegnet, bicl, clan, plca, spcl
from dajax.recipes.base import deeplab, scenes, transformers
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": (), "own": sets.OWN_KEYS} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "like", "backbone", "settings")
)
LIKE = {"adaptsegnet": None, "clan": clan, "plca": plca, "spcl": spcl, "bicl": bicl}


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    text = arg
    arg = seg_base.parse(
        "source_only_seg",
        arg,
        VARIANTS,
        like=tuple(LIKE),
        backbone=(*seg_base.BACKBONES, *transformers.BACKBONES),
        network=(*sets.NETWORKS, *transformers.BACKBONES),
    )
    if LIKE[arg.like]:
        return with_settings_of(LIKE[arg.like], text, arg)
    if not arg.backbone.startswith("resnet") and arg.settings == "paper":
        raise ValueError(
            f"settings=paper: changes nothing for backbone {arg.backbone}, whose parameters nobody"
            " repeats; leave it out"
        )
    if arg.is_small:
        return with_small_network(arg)
    config = seg_base.segmentation(
        arg.name,
        model=deeplab.network(
            arg.backbone,
            "single",
            arg.weights,
            aspp_branches=adaptsegnet.branches(arg),
            size_hw=arg.size_hw,
        ),
        data=adaptsegnet.frames(arg),
    )
    if arg.variant == "own":
        deeplab.add_stages(config, arg, None)
        return transformers.in_place(config, arg)
    config.source_only = deeplab.supervised(arg.backbone, settings=arg.settings)
    config.stages = ("source_only",)
    seg_base.evaluate_every(config, adaptsegnet.SAVE_EVERY)
    return transformers.in_place(config, arg)


def with_settings_of(recipe, text, arg):
    """Source only with the network, the data and the schedule of another recipe.

    Args:
      recipe: its module.
      text: this recipe's argument as it was given; arg: as parsed.
    """
    if arg.like == "bicl" and arg.settings == "paper":
        raise ValueError("settings=paper: changes nothing for like=bicl; leave it out")
    items = [item for item in text.split(",") if not item.startswith("like=")]
    config = recipe.get_config(",".join(items))
    every = max(config[name].evaluate_every for name in config.stages)
    for name in config.stages:
        del config[name]
    rows = recipe.source_only(arg, config)
    config.update(rows)
    config.name, config.stages = arg.name, tuple(rows)
    seg_base.evaluate_every(config, every)
    return transformers.in_place(config, arg)


def with_small_network(arg):
    """Floor and bound for the small network."""
    config = scenes.start(arg, "single")
    scenes.add_stages(config, arg, None)
    return config
