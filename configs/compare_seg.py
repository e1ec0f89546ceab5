"""The segmentation methods side by side on the embedded scenes, all from one source-only network
with one head.

  python run.py --config=compare_seg                   about an hour on two cores, estimated
  python run.py --config=compare_seg:own,source=DIR,target=DIR,size=96x128       own folders
  python docs/scripts/seeds_table.py scenes --seeds=3,4,5           a table over seeds

Every method beside its step-matched control: the same network, steps, batches and passes with the
target's loss at weight 0. CLAN has two heads and so another source-only network: configs/clan.py
has its row.

With network=resnet101 or vgg16 all methods see AdaptSegNet's views and start with its network:
AdaptSegNet and PLCA alone, since the others have views of their own.
"""

from dajax.recipes import adaptsegnet, cbst, fada, intrada, pixmatch, plca, proda
from dajax.recipes.base import deeplab, scenes
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
    rows = dict(adaptsegnet=adversarial.adaptsegnet)
    rows |= dict(plca_control=association.control, plca=association.plca)
    if parsed.is_small:
        for name, recipe in RECIPES.items():
            rows |= rows_of(name, recipe.get_config(arg), config)
    add_stages(config, parsed, adversarial.control, **rows)
    return config


def rows_of(name, other, config):
    """{stage: settings} of another recipe without what all share, and its views where `config` has
    none of their name.
    """
    for view, settings in other.data.transforms.items():
        if view not in config.data.transforms:
            config.data.transforms[view] = settings
    shared = ("source_only", "adabn", "oracle")
    return {
        f"{name}_control" if stage == "control" else stage: other[stage]
        for stage in other.stages
        if stage not in shared
    }
