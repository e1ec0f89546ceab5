"""What issue 16 asks of a GPU: DAFormer's step on MiT-b5 at 512x512, 2 + 2 images, in float32 and
bfloat16, against torch on the same card (channels_last, AMP, torch.compile). The step:
mic_step.py, without MIC's masks. gpu.py says how to run it.
"""

import functools

from benchmarks import mic_step
from benchmarks import network_setup as setup
from benchmarks.cases import Case, largest_difference
from benchmarks.gpu import TOLERANCE

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
    fast = dict(dtype="bfloat16", channels_last=True)
    found = []
    for dtype, torch_settings in (("bfloat16", fast), ("float32", {})):
        contenders = {
            "torch": functools.partial(mic_step.torch_step, **torch_settings),
            "dajax": functools.partial(mic_step.dajax_step, dtype=dtype),
        }
        if torch_settings:
            compiled = functools.partial(mic_step.torch_step, **fast, is_compiled=True)
            contenders = {"torch, torch.compile": compiled, **contenders}
        title = f"{settings['steps']} DAFormer steps, {backbone}, {side}x{side}, {dtype}"
        remark = functools.partial(images_per_second, steps=settings["steps"])
        agree = functools.partial(largest_difference, tolerance=TOLERANCE[dtype])
        found.append(Case(title, contenders, settings, at_once=True, agree=agree, remark=remark))
    return found


def images_per_second(name, result, steps):
    """For the remark."""
    del name
    return f"{IMAGES * steps / min(result.seconds):.4g} images/s"
