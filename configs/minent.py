"""MinEnt (Vu, Jain, Bucher, Cord, Perez, CVPR 2019): the entropy of the target's predictions is
minimised, without an adversary. configs/advent.py is the same paper's AdvEnt.

  python run.py --config=minent              embedded scenes with every control
  python run.py --config=minent:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=minent:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,levels=single        without the second head at layer3

The scenes take minutes on two cores. FILE is that of configs/advent.py; weights=none stands for
random ones.

Published, ResNet-101, best snapshot on the validation set: GTA5 -> Cityscapes 42.3 mIoU (the
paper's table as we remember it; MaxSquare's authors state 42.2 for their own). Not reproduced here
yet; 120,000 steps: about two days on one modern GPU, estimated, not measured.

Not in the released code and not here: the paper's prior of class ratios, and entropy of a range of
pixels ("ER").
"""

from dajax.recipes import advent
from dajax.recipes.base import deeplab, entropy, scenes
from dajax.recipes.base import segmentation as seg_base

VARIANTS = advent.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = advent.parse("minent", arg)
    stage = authors(arg)
    if arg.is_small:
        stage.update(optimizer=scenes.optimizer(5e-4), **scenes.ADAPTATION)
        config = scenes.start(arg, arg.levels)
        scenes.add_stages(config, arg, entropy.control(stage), minent=stage)
        return config
    config = advent.start(arg)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, entropy.control(stage), minent=stage)
        return config
    config.minent = stage
    config.stages = ("minent",)
    seg_base.evaluate_every(config, 2000)  # SAVE_PRED_EVERY
    return config


def authors(arg):
    """domain_adaptation/config.py and train_UDA.py, train_minent."""
    aux_weight = 0.0002 if arg.levels == "multi" else 0.0  # LAMBDA_ENT_AUX
    return entropy.stage(
        entropy.ENTROPY | dict(aux_weight=aux_weight),  # weight: LAMBDA_ENT_MAIN
        steps=advent.STEPS,
        batch_size=1,  # BATCH_SIZE_SOURCE, BATCH_SIZE_TARGET
        optimizer=deeplab.released_sgd(
            "resnet101", 2.5e-4, settings="code", horizon_steps=advent.HORIZON
        ),
    )
