"""Recipes with a vision transformer in place of their residual network."""

import pytest
import recipes

from dajax.models.build import build_segmenter
from dajax.models.vit import VARIANTS
from dajax.recipes.base import vit

PAIR = "gta5_to_cityscapes,weights=dinov2_vitb14.pth,backbone=dinov2_vitb14"
# {recipe: heads of its network}
HEADS = {
    "plca": "single",
    "bicl": "single",
    "clan": "twin",
    "adaptsegnet": "single",
    "source_only_seg": "single",
}


def test_recipes_offer_every_published_variant():
    assert {*vit.BACKBONES, "vit_tiny"} == set(VARIANTS)


@pytest.mark.parametrize("recipe", HEADS)
def test_network_images_and_optimiser_are_vfm_udas(recipe):
    config = recipes.get_config(recipe, PAIR)
    expected = vit.network("dinov2_vitb14", "dinov2_vitb14.pth", heads=HEADS[recipe])
    assert config.model.to_dict() == expected and "dinov2_vitb14" in config.name
    assert not config.evaluation.align_corners
    assert {transform.channels for transform in config.data.transforms.values()} == {"rgb"}
    stages = [config[name] for name in config.stages if config[name].method != "pseudo_labels"]
    for stage in stages:
        model = build_segmenter(config.model, stage, num_classes=19)
        assert model.backbone.variant is VARIANTS["dinov2_vitb14"]
        assert stage.optimizer.kind == "adamw"
    assert stages[0].optimizer.lr == 5e-5 * stages[0].batch_size ** 0.5


def test_own_folders_have_no_adabn_with_it():
    arg = "own,source=A,target=B,size=96x128,network=dinov2_vits14,weights=none"
    config = recipes.get_config("plca", arg)
    assert config.model.backbone == "dinov2_vits14"
    assert config.stages == ("source_only", "control", "plca") and "adabn" not in config
