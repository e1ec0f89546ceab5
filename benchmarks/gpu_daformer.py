"""What issue 16 asks of a GPU: DAFormer's step on MiT-b5 at 512x512, 2 + 2 images, in float32 and
bfloat16, against torch on the same card (channels_last, AMP, torch.compile). The step:
mic_step.py, without MIC's masks. gpu.py says how to run it.
"""

import functools

from benchmarks import mic_step
from benchmarks import network_setup as setup
from benchmarks.gpu import steps_against_torch

TITLE = "DAFormer's step on MiT-b5 at 512x512, 2 + 2, against torch on a GPU"
MINUTES = 9  # at least: a guess, the first case alone takes more than four
NEEDS = ("ml_collections",)

SIDE, STEPS = 512, 10
BACKBONE = "mit_b5"
IMAGES = 2 + 2  # of a step


def cases(folder, is_quick):
    """See groups.py."""
    backbone, side = (
        (mic_step.QUICK_BACKBONE, mic_step.QUICK_SIDE) if is_quick else (BACKBONE, SIDE)
    )
    settings = dict(
        weights=setup.weights_file(folder, kind="mit", blocks=backbone),
        backbone=backbone,
        side=side,
        steps=1 if is_quick else STEPS,
        is_masked=False,
    )
    return steps_against_torch(
        f"{settings['steps']} DAFormer steps, {backbone}, {side}x{side}",
        mic_step.torch_step,
        mic_step.dajax_step,
        settings,
        functools.partial(images_per_second, steps=settings["steps"]),
    )


def images_per_second(name, result, steps):
    """For the remark."""
    del name
    return f"{IMAGES * steps / min(result.seconds):.4g} images/s"
