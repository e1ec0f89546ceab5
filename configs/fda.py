"""FDA (Yang, Soatto, CVPR 2020): source images take the low amplitudes of target images; three
networks with windows of three sizes, whose mean labels the target, and self-training on the labels.

  python run.py --config=fda                 embedded scenes with every control, one round
  python run.py --config=fda:own,source=DIR,target=DIR,size=96x128         own folders, too
  python run.py --config=fda:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE

fda_01, fda_05, fda_09 -> mbt_0, their mean, which is evaluated and writes pseudo-labels -> sst1_01,
sst1_05, sst1_09, from the start again, with these labels -> mbt_1; on published sets also a second
round, sst2_01 to mbt_2: one command, restartable anywhere. --config.stages shortens it.

The scenes take some 15 minutes on two cores, estimated. FILE is DeepLab_init.pth, which
https://github.com/YanchaoYang/FDA links in its README (no checksum is published); weights=none
stands for random ones.

Published, ResNet-101, after both rounds, mean of three networks: GTA5 -> Cityscapes 50.45 mIoU,
SYNTHIA -> Cityscapes 52.5 over 13 classes; its evaluation enlarges frames to 1344x576, here they
are 1024x512 as in training and pseudo-labels. Not reproduced here yet; nine times 100,000 steps:
two to three weeks on one modern GPU, estimated, not measured.

Not as in the released code: the swap itself (dajax/ops/fourier.py says why); in self-training one
target image is style and labelled image, where the code draws two; pseudo-labels have the image's
size, of which training takes the nearest pixels, where the code's have 512x1024; GTA5 keeps its
aspect, which the code squeezes to 1280x720 before the crop; a VGG is not here.
"""

from dajax.recipes.base import deeplab, entropy, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": (), "own": sets.OWN_KEYS} | dict.fromkeys(
    seg_base.REAL_VARIANTS, seg_base.REAL_KEYS
)
BETAS = {"01": 0.01, "05": 0.05, "09": 0.09}  # the paper, section 3.3
CROP_HW = (512, 1024)  # image_sizes of data/__init__.py: of the target, and of the source's crops
SOURCE_EDGE = {"gta5": 720, "synthia": 760}  # the same, of the source before its crop
ROUNDS, SCENES_ROUNDS = 2, 1  # of self-training: README steps 4 and 5, twice (the paper); ours


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(
        "fda", arg, VARIANTS, backbone=("resnet101",), network=("small", "resnet101")
    )
    if arg.is_small:
        config = scenes.start(arg, "single")
        own = dict(optimizer=scenes.optimizer(5e-4), **scenes.ADAPTATION)
        # the statistics that training left are a mixture of both domains', as with SPCL's labels
        found = rounds(config, SCENES_ROUNDS, "reestimated", **own)
        scenes.add_stages(config, arg, entropy.control(found["fda_01"]), **found)
        return config
    model = deeplab.network("resnet101", "single", arg.weights, size_hw=arg.size_hw)
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    found = rounds(
        config,
        ROUNDS,
        "running",  # getSudoLabel_multi.py, model.eval()
        steps=100_000,  # num-steps-stop
        batch_size=1,
        # num-steps
        optimizer=deeplab.released_sgd("resnet101", 2.5e-4, settings="code", horizon_steps=150_000),
    )
    if arg.variant == "own":
        deeplab.add_stages(config, arg, entropy.control(found["fda_01"]), **found)
        return config
    config.update(found)
    config.stages = tuple(found)
    seg_base.evaluate_every(config, 2500)  # save-pred-every
    return config


def rounds(config, count, statistics, **settings):
    """{stage: settings}: three networks and their mean, then `count` times the same again with the
    pseudo-labels of the mean before, each network from where the first began (SStrain.py's
    --init-weights).

    Args:
      config: of the run, for how images are normalised.
      statistics: of pseudo_labels.
      **settings: of a stage that trains.
    """
    transform, found = config.data.transforms.source, {}
    for number in range(count + 1):
        prefix = f"sst{number}" if number else "fda"
        labels = {"labels_from": f"mbt_{number - 1}"} if number else {}
        for name, beta in BETAS.items():
            # weight: entW; eta: ita; from the first step on: README's switch2entropy
            found[f"{prefix}_{name}"] = entropy.stage(
                entropy.ROBUST, style=entropy.style_of_target(beta, transform), **labels, **settings
            )
        found[f"mbt_{number}"] = seg_base.pseudo_labels(
            init_from=tuple(f"{prefix}_{name}" for name in BETAS),
            rule="quantile",
            proportion=0.66,  # getSudoLabel_multi.py; cap: the same
            cap=0.9,
            statistics=statistics,
        )
    return found


def frames(arg):
    """Random crops of the source at the target's size; nothing is mirrored. Own folders: whole
    frames of one size.
    """
    whole = seg_base.whole_frames(arg.size_hw or CROP_HW)
    edge = seg_base.by_source(SOURCE_EDGE, arg)
    source = whole if arg.size_hw else whole | dict(size=CROP_HW, shorter_edge=(edge, edge))
    transforms = dict(source=source, target=whole, evaluation=whole)
    return dict(sets.domains(arg, synthia_space="synthia"), transforms=transforms)
