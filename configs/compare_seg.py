"""The segmentation methods side by side on the embedded scenes, all from one source-only network
with one head.

  python run.py --config=configs/compare_seg.py                            about 15 minutes on two cores
  python benchmarks/seeds_table.py scenes --seeds=3,4,5                    README's table

Every method beside its step-matched control: the same network, steps, batches and passes with the
target's loss at weight 0. CLAN has two heads and so another source-only network: configs/clan.py
has its row.
"""

from dajax.recipes import adaptsegnet, plca
from dajax.recipes.base import common as base
from dajax.recipes.base import segmentation as seg_base
from dajax.recipes.base.scenes import scenes


def get_config(arg=None):
    """The recipe; it has no variants."""
    base.parse_arg(arg, ("scenes",))
    config = seg_base.segmentation(
        "compare-seg", model=seg_base.small_network("single"), data=scenes()
    )
    config.evaluation.aggregation_alpha = plca.TEST_ALPHA
    methods = adaptsegnet.get_config(), plca.get_config()
    seg_base.add_scenes_stages(
        config,
        methods[0].control,
        adaptsegnet=methods[0].adaptsegnet,
        plca_control=methods[1].control,
        plca=methods[1].plca,
    )
    return config
