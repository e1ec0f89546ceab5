"""Recipes with a MiT in place of their residual network, as far as the command line has them."""

import pytest
import recipes

from dajax.models.build import build_segmenter
from dajax.models.mit import VARIANTS
from dajax.recipes.base import common as base
from dajax.recipes.base import mit

PAIR = "gta5_to_cityscapes,weights=mit_b5.pth,backbone=mit_b5"
# {recipe: heads of its network}
HEADS = {
    "plca": "single",
    "bicl": "single",
    "clan": "twin",
    "adaptsegnet": "single",
    "source_only_seg": "single",
}


def test_recipes_offer_every_variant():
    assert set(mit.BACKBONES) == set(VARIANTS)


@pytest.mark.parametrize("recipe", HEADS)
def test_network_images_and_optimiser_are_daformers(recipe):
    config = recipes.get_config(recipe, PAIR)
    expected = mit.network("mit_b5", "mit_b5.pth", heads=HEADS[recipe])
    assert config.model.to_dict() == expected and config.name.startswith(f"{recipe}-")
    assert "mit_b5" in config.name and not config.evaluation.align_corners
    for transform in config.data.transforms.values():
        assert (transform.channels, transform.divisor) == ("rgb", 255.0)
        assert tuple(transform.mean) == base.IMAGENET_MEAN
    stages = [config[name] for name in config.stages if config[name].method != "pseudo_labels"]
    for stage in stages:
        model = build_segmenter(config.model, stage, num_classes=19)
        assert not model.align_corners and model.backbone.depths == (3, 6, 40, 3)
        assert stage.optimizer.kind == "adamw"
        assert stage.optimizer.lr_multipliers == (("head", 10.0), ("norm", 1.0))
    assert stages[0].optimizer.lr == 6e-5


def test_rounds_keep_the_proportion_of_their_rates():
    """BiCL halves its rate after every round."""
    config = recipes.get_config("bicl", PAIR)
    assert [config[f"bicl_{i}"].optimizer.lr for i in range(3)] == [6e-5, 3e-5, 1.5e-5]


def test_the_residual_networks_recipe_is_what_it_was():
    """backbone=resnet101 said or not."""
    for recipe in HEADS:
        pair = "gta5_to_cityscapes,weights=none"
        config = recipes.get_config(recipe, f"{pair},backbone=resnet101")
        assert config.to_dict() == recipes.get_config(recipe, pair).to_dict()


def test_own_folders_have_it_too():
    arg = "own,source=A,target=B,size=96x128,network=mit_tiny,weights=none"
    config = recipes.get_config("plca", arg)
    assert config.model.backbone == "mit_tiny" and config.model.weights == ""
    assert config.data.transforms.evaluation.size == (96, 128)
    assert {config[name].optimizer.kind for name in ("source_only", "control", "plca")} == {"adamw"}


@pytest.mark.parametrize(
    "recipe, arg, said",
    [
        ("adaptsegnet", f"{PAIR},levels=multi", "levels=multi: backbone mit_b5 has one head"),
        ("adaptsegnet", f"{PAIR},settings=paper", "settings=paper: changes nothing for"),
        ("source_only_seg", f"{PAIR},settings=paper", "settings=paper: changes nothing for"),
        ("spcl", PAIR, "configuration argument 'backbone=mit_b5'"),
    ],
)
def test_what_it_does_not_have_is_said(recipe, arg, said):
    with pytest.raises(ValueError, match=said):
        recipes.get_config(recipe, arg)
