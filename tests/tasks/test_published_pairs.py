"""Every recipe on every pair of published sets gets through all that is looked at before the first
step, with frames of the sizes that these sets have.
"""

import numpy as np
import pytest
import recipes
import seg_files

from dajax import tasks

FRAMES = {"gta5": (1052, 1914), "synthia": (760, 1280), "synscapes": (720, 1440)}
CITYSCAPES_HW = (1024, 2048)
ROAD, NUM_FRAMES = 7, 2  # an id that all of these sets have in common but SYNTHIA, where it is 3
SYNTHIA_ROAD = 3


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """{set: folder} with two frames each, of one class."""
    found = {name: tmp_path_factory.mktemp(name) for name in (*FRAMES, "cityscapes")}
    ids = {name: np.full(hw, ROAD, np.uint8) for name, hw in FRAMES.items()}
    seg_files.write_gta5(found["gta5"], {f"0000{i}": ids["gta5"] for i in range(NUM_FRAMES)})
    synthia = np.zeros((*FRAMES["synthia"], 3), np.uint16)
    synthia[..., 0] = SYNTHIA_ROAD
    for i in range(NUM_FRAMES):
        seg_files.write_image(found["synthia"] / f"RGB/000000{i}.png", FRAMES["synthia"])
        seg_files.write_png16(found["synthia"] / f"GT/LABELS/000000{i}.png", synthia)
        for kind, hw in (("rgb", FRAMES["synscapes"]), ("rgb-2k", (1024, 2048))):
            seg_files.write_image(found["synscapes"] / f"img/{kind}/{i + 1}.png", hw)
        seg_files.write_ids(found["synscapes"] / f"img/class/{i + 1}.png", ids["synscapes"])
    labels = {f"aachen/aachen_00000{i}_000019": np.full(CITYSCAPES_HW, ROAD) for i in range(2)}
    for split in ("train", "val"):
        seg_files.write_cityscapes(found["cityscapes"], labels, split)
    return found


def variants():
    """(recipe, a pair of sets), of all recipes that have any."""
    return [
        (name, variant)
        for name in recipes.NAMES
        for variant in getattr(recipes.module(name), "VARIANTS", ())
        if variant.partition("_to_")[0] in FRAMES and variant.endswith("_to_cityscapes")
    ]


@pytest.mark.parametrize("name, variant", variants(), ids=lambda word: word)
def test_a_recipe_opens_its_published_pair(name, variant, roots):
    source = variant.partition("_to_")[0]
    config = recipes.get_config(
        name,
        f"{variant},source_root={roots[source]},target_root={roots['cityscapes']},weights=none",
    )
    task = tasks.get(config.task)
    domains = task.open_data(config)
    tasks.check_start(config, domains, training=True)
    assert any(f"{NUM_FRAMES} images" in line for line in task.describe(config, domains))
