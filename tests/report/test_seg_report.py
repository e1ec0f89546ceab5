"""The report of a segmentation run: own folders of street frames through a short training."""

import re

import in_process
import numpy as np
import own_folders
import pytest
import quick_figures
from recipes import get_config

from dajax.models import build as models_build
from dajax.ops.class_center_distance import class_center_distance, class_moments
from dajax.ops.resize import resize_nearest_legacy
from dajax.report import features, pixels, predictions
from dajax.report.context import Context
from dajax.report.runs import open_runs
from dajax.report.write import analyze

pytestmark = pytest.mark.slow  # the training


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of two steps, with networks of one residual block and an unlabelled target to adapt to."""
    root = tmp_path_factory.mktemp("street")
    day, dusk, val = root / "day", root / "dusk", root / "val"
    own_folders.write_frames(day, 4)
    own_folders.write_frames(dusk, 2, labelled=False, brightness=0.5)
    own_folders.write_frames(val, 3, brightness=0.5)
    argument = f"own,source={day},target={dusk},evaluation={val},size=32x48"
    config = own_folders.few_steps(get_config("source_only_seg", argument))
    config.stages, config.evaluation.reestimate_batches = ("source_only",), 0
    with pytest.MonkeyPatch.context() as patch:
        build = in_process.shallow(models_build.deeplab.build_segmenter)
        patch.setattr(models_build.deeplab, "build_segmenter", build)
        quick_figures.patch(patch)
        in_process.run(config, root / "run")
        yield root / "run"


@pytest.fixture(scope="module")
def context(workdir):
    return Context(open_runs([workdir]), samples=4)


def test_the_distances_are_those_of_all_pixels_of_both_domains(context):
    """Against the same by hand: features of the images as `features` gives them."""
    (network,) = context.networks
    domains, parts = network.run.domains, []
    for images in (domains.source, domains.evaluation):
        for row in range(len(images)):
            found = network.trained.features([images.read_image(row)])
            label = resize_nearest_legacy(images.read_label(row)[None], found.shape[1:3])
            parts.append(class_moments(found, label.astype(int), 3))
    expected = class_center_distance(tuple(map(sum, zip(*parts, strict=True))))
    _, ratio = features.distances(context, network, unit=False)
    np.testing.assert_allclose(ratio, expected, rtol=1e-4)  # batches of four against single images


def test_pixels_are_drawn_of_every_class(context):
    sample = context.sample(context.networks[0], "target")
    assert sample.has_labels and set(sample.classes.tolist()) == {0, 1, 2}
    assert sample.features.shape == (len(sample.classes), sample.image_features.shape[1])
    assert sample.label_counts.sum() == sample.prediction_counts.sum()


def test_scenes_have_their_prediction_label_and_errors(context):
    (picture,) = predictions.scenes(context).blocks
    assert picture.figure.dtype == np.uint8 and picture.figure.shape[2] == 3
    # image, prediction of the one network, label, errors
    assert picture.figure.shape[1] == 4 * (predictions._PANEL_WIDTH + predictions._GAP)


def test_a_chosen_pixel_is_of_a_class_that_both_images_show(context):
    section = pixels.similarities(context)
    if section is not None:
        assert any(name in section.blocks[0].caption for name in own_folders.CLASSES)


def test_the_page_says_what_is_left_out_and_why(workdir, tmp_path, capsys):
    page = analyze([str(workdir)], tmp_path / "out", samples=4).read_text()
    keys = re.findall(r'<section id="([\w-]+)">', page)
    assert len(set(keys)) == len(keys) > 7, "anchors"
    for key in ("results", "scenes", "frequencies", "pixel-embedding", "centers", "about"):
        assert f'<section id="{key}">' in page, key
    assert "the source has 4 images; two halves need 10" in page
    assert "left out: A-distance" in capsys.readouterr().out
    assert "#failures" not in page, "of a classifier alone"
