"""What config.model.remat costs and saves: an AdaptSegNet step of DeepLab-v2 ResNet-101 with all
activations kept, with those of layer3, and of all stages, computed a second time.
"""

import functools

from benchmarks import network_setup as setup
from benchmarks.adaptsegnet_step import adaptsegnet_case, dajax_step
from benchmarks.networks import FRAME_HW, QUICK_HW

TITLE = "an AdaptSegNet step with activations computed a second time"
MINUTES = 3.5
NEEDS = ("ml_collections",)

SETTINGS = ("none", "layer3", "all")  # layer3: 23 of the 33 blocks; PLCA's published recipe has it


def cases(folder, is_quick):
    """See groups.py."""
    return [
        adaptsegnet_case(
            folder,
            QUICK_HW if is_quick else FRAME_HW,
            dict(kind="segmenter", blocks=setup.QUICK_BLOCKS if is_quick else setup.RESNET101),
            title="AdaptSegNet step, ResNet-101",
            contenders={
                f"remat={setting}": functools.partial(dajax_step, remat=setting)
                for setting in SETTINGS
            },
        )
    ]
