"""The data of DAFormer, HRDA and MIC as their released code has them, number by number."""

import pytest

from dajax.recipes.base import daformer_data
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.margins import Margins

VARIANTS = {"gta5_to_cityscapes": seg_base.REAL_KEYS, "own": sets.OWN_KEYS}
GTA5_HW, SYNTHIA_HW, CITYSCAPES_HW, ACDC_HW = (1052, 1914), (760, 1280), (1024, 2048), (1080, 1920)


def argument(text):
    return seg_base.parse("x", f"{text},weights=none", VARIANTS)


def transforms(arg, is_high_resolution):
    data = daformer_data.frames(arg, is_high_resolution=is_high_resolution)
    return {name: seg_transforms.from_config(view) for name, view in data["transforms"].items()}


@pytest.mark.parametrize(
    "pair, is_high_resolution, source, target, evaluation",
    [
        ("gta5_to_cityscapes", False, (GTA5_HW, (704, 1280)), (CITYSCAPES_HW, (512, 1024)),
         (512, 1024)),
        ("gta5_to_cityscapes", True, (GTA5_HW, (1407, 2560)), (CITYSCAPES_HW, CITYSCAPES_HW),
         (1024, 2048)),
        ("synthia_to_cityscapes", False, (SYNTHIA_HW, SYNTHIA_HW), (CITYSCAPES_HW, (512, 1024)),
         (512, 1024)),
        ("synthia_to_cityscapes", True, (SYNTHIA_HW, (1520, 2560)), (CITYSCAPES_HW, CITYSCAPES_HW),
         (1024, 2048)),
        ("cityscapes_to_acdc", False, (CITYSCAPES_HW, (512, 1024)), (ACDC_HW, (540, 960)),
         (540, 960)),
        ("cityscapes_to_dark_zurich", True, (CITYSCAPES_HW, CITYSCAPES_HW), (ACDC_HW, ACDC_HW),
         ACDC_HW),
    ],
)  # fmt: skip
def test_frames_have_the_authors_sizes(pair, is_high_resolution, source, target, evaluation):
    made = transforms(argument(pair), is_high_resolution)
    for view, (frame_hw, resized_hw) in (("source", source), ("target", target)):
        assert made[view].largest_hw(frame_hw) == resized_hw
        assert made[view].size_hw == ((1024, 1024) if is_high_resolution else (512, 512))
        assert made[view].flip and made[view].resize == "bilinear_plain"
        assert (made[view].channels, made[view].color_jitter) == ("rgb", None)
        for mean, std, of_255 in zip(
            made[view].mean,
            made[view].std,
            ((123.675, 58.395), (116.28, 57.12), (103.53, 57.375)),
            strict=True,
        ):
            assert (255 * mean, 255 * std) == pytest.approx(of_255)
    assert (made["source"].max_class_share, made["target"].max_class_share) == (0.75, 1.0)
    assert made["evaluation"].size_hw == evaluation
    assert made["evaluation"] == made["evaluation"].for_evaluation()


def test_synthia_keeps_the_19_outputs():
    data = daformer_data.frames(argument("synthia_to_cityscapes"))
    assert (data["source"]["space"], data["target"]["space"]) == ("synthia_clan", "cityscapes")


def test_margins_are_the_authors_rows_and_columns():
    """crop_pseudo_margins of HRDA's 1024x2048."""
    found = daformer_data.hrda_margins(argument("gta5_to_cityscapes"))
    trusted = Margins(*found).trusted((1024, 2048))
    assert trusted[30:-240, 30:-30].all() and trusted.sum() == (1024 - 270) * (2048 - 60)
    assert daformer_data.hrda_margins(argument("cityscapes_to_acdc")) == ()


def test_rare_classes_are_the_authors_and_own_crops_ask_for_their_share():
    arg = argument("gta5_to_cityscapes")
    of_daformer = dict(temperature=0.01, min_pixels=3000, min_crop_ratio=0.5)
    assert daformer_data.rare_classes(arg) == of_daformer
    of_hrda = of_daformer | dict(min_crop_ratio=2.0)
    assert daformer_data.rare_classes(arg, is_high_resolution=True) == of_hrda
    own = argument("own,source=a,target=b,network=resnet101,size=256x512")
    for is_high_resolution in (False, True):
        found = daformer_data.rare_classes(own, is_high_resolution=is_high_resolution)
        assert found == of_daformer | dict(min_pixels=750)
    made = transforms(own, False)
    assert made["source"].size_hw == (256, 256) and made["target"].largest_hw((300, 900)) == (
        256,
        768,
    )


def test_an_evaluation_has_the_authors_windows():
    config = seg_base.segmentation(
        "x",
        model={},
        data=daformer_data.frames(argument("gta5_to_cityscapes"), is_high_resolution=True),
    )
    daformer_data.evaluate_as_published(config)
    assert not config.evaluation.align_corners
    assert config.evaluation.window.crop == config.evaluation.window.stride == (1024, 2048)
    daformer_data.evaluate_as_published(config, crop_hw=(1024, 1024), stride_hw=(512, 512))
    assert config.evaluation.window.to_dict() == dict(
        crop=(1024, 1024), stride=(512, 512), average="logits"
    )
