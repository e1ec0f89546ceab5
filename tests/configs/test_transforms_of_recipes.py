"""Every transform of every recipe on published sets fits the frames that these sets have: a run
builds and checks them before its first step.
"""

import pytest
import recipes

from data_pipeline.segmentation import transforms as seg_transforms

# (height, width) of the frames as they are published; a target or an evaluation's by its set
FRAMES = {
    "gta5": (1052, 1914),
    "synthia": (760, 1280),
    "synscapes": (720, 1440),
    "cityscapes": (1024, 2048),
    "acdc": (1080, 1920),
    "dark_zurich": (1080, 1920),
}


def variants():
    """(recipe, a pair of sets), of all recipes that have any."""
    return [
        (name, variant)
        for name in recipes.NAMES
        for variant in getattr(recipes.module(name), "VARIANTS", ())
        if "_to_" in variant
    ]


@pytest.mark.parametrize("name, variant", variants(), ids=":".join)
def test_the_frames_of_its_sets_reach_its_crops(name, variant):
    config = recipes.get_config(name, f"{variant},source_root=a,target_root=b,weights=none")
    source, target = variant.split("_to_")
    for key, settings in config.data.transforms.items():
        made = seg_transforms.from_config(settings, f"config.data.transforms.{key}")
        of_source = key.startswith("source")
        made.check_input(FRAMES[source if of_source else target])
