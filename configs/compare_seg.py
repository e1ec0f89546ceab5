"""The segmentation methods side by side on the embedded scenes, all from one source-only network
with one head.

  python run.py --config=compare_seg                   about 15 minutes on two cores
  python benchmarks/seeds_table.py scenes --seeds=3,4,5           a table over seeds

Every method beside its step-matched control: the same network, steps, batches and passes with the
target's loss at weight 0. CLAN has two heads and so another source-only network: configs/clan.py
has its row.
"""

from dajax.recipes import adaptsegnet, plca
from dajax.recipes.base import scenes
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": ()}


def get_config(arg=None):
    """The recipe; it has no arguments."""
    seg_base.parse("compare_seg", arg, VARIANTS)
    config = scenes.start("compare-seg", "single")
    config.evaluation.aggregation_alpha = plca.TEST_ALPHA
    adversarial, association = adaptsegnet.get_config(), plca.get_config()
    scenes.add_stages(
        config,
        adversarial.control,
        adaptsegnet=adversarial.adaptsegnet,
        plca_control=association.control,
        plca=association.plca,
    )
    return config
