"""The command line with a MiT on own folders: trained, evaluated, opened, predicted with and
exported.
"""

import json

import in_process
import jax.numpy as jnp
import numpy as np
import own_folders
import pytest

import dajax
from dajax.cli import export as export_command
from dajax.errors import UserError
from dajax.ops.resize import resize_bilinear
from dajax.recipes import clan, plca

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    source = own_folders.write_frames(root / "source", 4)
    target = own_folders.write_frames(root / "target", 4, brightness=0.6)
    return f"own,source={source},target={target},size=32x48,network=mit_tiny,weights=none"


@pytest.mark.parametrize("recipe, words", [(plca, ""), (clan, ",settings=paper")])
def test_a_run_is_trained_and_opened(folders, tmp_path, recipe, words):
    """CLAN with the paper's settings, which make no image smaller than a MiT takes."""
    config = own_folders.few_steps(recipe.get_config(folders + words))
    config.stages = (config.stages[0], config.stages[-2])  # source only and the method
    for name in config.stages:
        if "accumulate" in config[name]:
            config[name].accumulate = 1
        if "adversarial" in config[name]:
            config[name].adversarial.width = 4
    in_process.run(config, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert all(0 <= result["miou"] <= 100 for result in results.values())
    trained = dajax.load(str(tmp_path))
    picture = np.random.default_rng(0).integers(0, 256, (36, 52, 3)).astype(np.uint8)
    (classes,) = trained.predict([picture])
    assert classes.shape == (36, 52)
    out = tmp_path / "network.stablehlo"
    export_command.run(None, tmp_path, format="stablehlo", out=str(out), stage=None, select="last")
    opened = dajax.load(str(out))
    assert opened.contract["preprocessing"]["align_corners"] is False
    outputs = opened.outputs(picture[None])
    np.testing.assert_array_equal(outputs["classes"][0], classes)
    logits = jnp.asarray(outputs["logits"])
    resized = resize_bilinear(logits, (36, 52), align_corners=False)
    np.testing.assert_array_equal(np.asarray(resized).argmax(-1)[0], classes)


def test_corners_aligned_are_refused_before_training(folders, tmp_path):
    config = own_folders.few_steps(plca.get_config(folders))
    config.evaluation.align_corners = True
    with pytest.raises(UserError, match="align_corners=True: mit_tiny is trained with half-pixel"):
        in_process.run(config, tmp_path)
