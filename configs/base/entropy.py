"""What the recipes of entropy_minimization share: its settings with every switch, and the rows that
stand beside other methods. configs/minent.py, maxsquare.py and fda.py say what their authors have.
"""

from dajax.recipes.base import mixing
from dajax.recipes.base import segmentation as seg_base

NO_GUIDANCE = dict(weight=0.0, threshold=0.95)  # solve_gta5.py's command; MaxSquare +Multi
OWN_STYLE = dict(of="source")
# configs/minent.py, maxsquare.py and fda.py say where these stand.
ENTROPY = dict(kind="entropy", weight=0.001, aux_weight=0.0)
MAX_SQUARE = dict(kind="max_square", weight=0.1, aux_weight=0.0)
IMAGE_WEIGHTED = MAX_SQUARE | dict(kind="image_weighted_max_square", ratio=0.2)
ROBUST = dict(kind="robust_entropy", weight=0.005, aux_weight=0.0, eta=2.0)


def stage(target_loss, *, style=None, guidance=None, **settings):
    """A stage of entropy_minimization.

    Args:
      target_loss: kind, one of losses/entropy.py, with what it needs; weight and aux_weight, of
        both heads.
      style: OWN_STYLE, the default, or as `style_of_target` has it.
      guidance: NO_GUIDANCE, the default, or MaxSquare's of the auxiliary head.
      **settings: steps, batch_size, optimizer; and of the stage in general.
    """
    return seg_base.stage(
        "entropy_minimization",
        loss=dict(kind="cross_entropy", aux_weight=0.1),  # of all three codes with two heads
        target_loss=target_loss,
        style=style or OWN_STYLE,
        guidance=guidance or NO_GUIDANCE,
        **settings,
    )


def style_of_target(beta, transform):
    """FDA's swap.

    Args:
      beta: share of the shorter side up to which frequencies are the target's.
      transform: of config.data.transforms, for how images are normalised.
    """
    return dict(
        of="target",
        beta=beta,
        normalisation={key: transform[key] for key in mixing.NORMALISATION},
    )


def control(full):
    """The step-matched control: the same network, steps and passes, with every loss on the target
    at weight 0 and the source in its own colours.
    """
    weights = dict.fromkeys(
        ("target_loss.weight", "target_loss.aux_weight", "guidance.weight"), 0.0
    )
    beta = {"style.beta": 0.0} if "beta" in full.style else {}
    return seg_base.without(full, **weights, **{"style.of": "source"}, **beta)
