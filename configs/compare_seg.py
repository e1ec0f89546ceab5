"""The segmentation methods side by side on the embedded scenes, all from one source-only network
with one head.

  python run.py --config=compare_seg                   about an hour on two cores
  python run.py --config=compare_seg:own,source=DIR,target=DIR,size=96x128       own folders
  python docs/scripts/seeds_table.py scenes --seeds=3,4,5           a table over seeds

Every method beside its step-matched control: the same network, steps, batches and passes with the
target's loss at weight 0; `control` is that of all that has none of its own, RECIPE_control. FDA is
its first network, without its rounds. CLAN has two heads and so another source-only network:
configs/clan.py has its row.

With network=resnet101 or vgg16 all methods see AdaptSegNet's views and start with its network;
those of RECIPES have views of their own and are left out.
"""

from dajax.recipes import adaptsegnet, cbst, fada, fda, intrada, pixmatch, plca, proda
from dajax.recipes.base import deeplab, entropy, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": (), "own": sets.OWN_KEYS}
# Further recipes for the small network; their controls are called RECIPE_control.
RECIPES = dict(cbst=cbst, fada=fada, intrada=intrada, pixmatch=pixmatch, proda=proda)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    parsed = seg_base.parse("compare-seg", arg, VARIANTS)
    adversarial, association = adaptsegnet.get_config(arg), plca.get_config(arg)
    if parsed.is_small:
        config, add_stages = scenes.start(parsed, "single"), scenes.add_stages
    else:
        config = seg_base.segmentation(parsed.name, model=adversarial.model, data=adversarial.data)
        add_stages = deeplab.add_stages
    if parsed.variant == "scenes":
        config.name = "compare-seg"  # as its workdirs were always called
    config.evaluation.aggregation_alpha = plca.TEST_ALPHA
    add_stages(
        config,
        parsed,
        adversarial.control,
        adaptsegnet=adversarial.adaptsegnet,
        plca_control=association.control,
        plca=association.plca,
    )
    rows = further_rows(config, adversarial.adaptsegnet)
    for name, recipe in RECIPES.items() if parsed.is_small else ():
        rows |= rows_of(name, recipe.get_config(arg))
    config.update(rows)
    # at the end, where workdirs of the version before may gain stages
    config.stages = (*config.stages, *rows)
    return config


def rows_of(name, other):
    """{stage: settings} of another recipe, whose views are the scenes', without what all share."""
    shared = ("source_only", "adabn", "oracle")
    return {
        f"{name}_control" if stage == "control" else stage: other[stage]
        for stage in other.stages
        if stage not in shared
    }


def further_rows(config, stage):
    """{row: settings} of AdvEnt and of entropy_minimization, with the steps and the optimiser of
    AdaptSegNet's stage.
    """
    settings = stage.to_dict()  # not the groups themselves, which a flag would then set for all
    shared = {key: settings[key] for key in ("init_from", "steps", "batch_size", "optimizer")}
    style = entropy.style_of_target(fda.BETAS["01"], config.data.transforms.source)
    return dict(
        advent=seg_base.without(stage, **{"adversarial.input": "information"}),
        minent=entropy.stage(entropy.ENTROPY, **shared),
        max_square=entropy.stage(entropy.MAX_SQUARE, **shared),
        max_square_iw=entropy.stage(entropy.IMAGE_WEIGHTED, **shared),
        fda_01=entropy.stage(entropy.ROBUST, style=style, **shared),
    )
