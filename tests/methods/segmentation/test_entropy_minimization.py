"""AdvEnt and MinEnt through whole iterations of the authors' scripts; what the settings of
entropy_minimization do, on a network of one linear layer.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from authors_steps import (
    LOSS_TOLERANCE,
    assert_final_logits,
    assert_parameters,
    assert_statistics,
    make,
    run,
    stored_names,
)
from batches import part, shapes
from compare import assert_value

from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.methods.segmentation import entropy_minimization as method
from dajax.models.aspp import SegOutput
from dajax.ops.fourier import swap_amplitudes
from dajax.recipes import advent as advent_config
from dajax.recipes import fda as fda_config
from dajax.recipes import maxsquare as maxsquare_config
from dajax.recipes import minent as minent_config
from dajax.recipes.base import common as base

GTA5 = "gta5_to_cityscapes,weights=none"


def gradient_norm(case, iteration, network):
    """Of all parameters of a network, from the file's norms of each."""
    prefix = f"it{iteration}_gradnorm_{network}."
    norms = [case[prefix + name] for name in stored_names(case, prefix)]
    return np.sqrt(np.square(norms).sum())


@pytest.mark.slow  # CLAN's run through the same engine, in the default suite
def test_three_iterations_of_minent_are_the_authors(golden):
    """The recipe as it stands, with the file's lambdas."""
    case = golden("tier2_minent_trainstep_multi")[""]
    model, config = make(case, minent_config, GTA5)
    config.loss.aux_weight = float(case["lambda_seg"])
    config.target_loss.weight = float(case["lambda_main"])
    config.target_loss.aux_weight = float(case["lambda_aux"])
    history = run(case, method, model, config, "asn_multi", {})
    names = ("segmentation_aux", "segmentation", "target_aux", "target")
    for i, (metrics, state) in enumerate(history):
        found, message = [metrics[name] for name in names], f"iteration {i}"
        assert_value(found, case["losses"][i], LOSS_TOLERANCE, err_msg=message)
        norm = gradient_norm(case, i, "G")
        assert_value(metrics["grad_norm"], norm, LOSS_TOLERANCE, err_msg=message)
        assert_parameters(case, i, state, {})
        assert_statistics(case, i, state)
    assert_final_logits(case, model, state, case["final_eval_logits2"])


@pytest.mark.slow
def test_three_iterations_of_advent_are_the_authors(golden):
    """The recipe as it stands, with the file's lambdas. Of the discriminators' losses the file has
    the target's half, of their gradients both.
    """
    case = golden("tier2_advent_trainstep_multi")[""]
    model, config = make(case, advent_config, GTA5)
    config.loss.aux_weight = float(case["lambda_seg"])
    config.adversarial.weight = float(case["lambda_main"])
    config.adversarial.aux_weight = float(case["lambda_aux"])
    # D1 judges the auxiliary head.
    salts = {"discriminator": "D2/", "discriminator_aux": ""}
    history = run(case, METHODS["adaptsegnet"], model, config, "asn_multi", salts)
    networks = {"D1": "discriminator_aux", "D2": "discriminator"}
    for i, (metrics, state) in enumerate(history):
        seg_aux, seg, adv_aux, adv, *_ = case["losses"][i]
        found = [metrics[f"adversarial_{name}"] for name in ("discriminator_aux", "discriminator")]
        fooled = config.adversarial.aux_weight * found[0] + config.adversarial.weight * found[1]
        both = metrics["loss"] - fooled
        expected = (seg, seg + config.loss.aux_weight * seg_aux, adv_aux, adv)
        found = (metrics["segmentation"], both, *found)
        assert_value(found, expected, LOSS_TOLERANCE, err_msg=f"iteration {i}")
        for name, network in ({"G": "segmenter"} | networks).items():
            norm = gradient_norm(case, i, name)
            assert_value(metrics[f"grad_norm_{network}"], norm, LOSS_TOLERANCE, err_msg=name)
        assert_parameters(case, i, state, networks)
        assert_statistics(case, i, state)
    assert_final_logits(case, model, state, case["final_eval_logits2"])


CLASSES, SIZE_HW = 3, (4, 6)


class Linear(nn.Module):
    """Logits linear in the colours, at half the size of the image, of one head or two."""

    network: ClassVar[str] = "segmenter"
    align_corners: ClassVar[bool] = True
    detail_hw: ClassVar[tuple[int, ...]] = ()
    num_classes: int = CLASSES
    num_heads: int = 1

    def frozen_parameters(self):
        return ()

    @nn.compact
    def __call__(self, images, mode):
        features = images[:, ::2, ::2]
        main = nn.Dense(self.num_classes, name="layer6")(features)
        aux = nn.Dense(self.num_classes, name="layer5")(features) if self.num_heads == 2 else None
        return SegOutput(features, main, aux)


def make_batch(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, (2, *SIZE_HW)).astype(np.int32)
    labels[0, :1] = 255
    return part(rng.normal(size=(2, *SIZE_HW, 3)).astype(np.float32), labels)


SOURCE, TARGET = make_batch(0), make_batch(1)
UNLABELLED = {key: TARGET[key] for key in ("image", "mask")}


def plain(config):
    """With plain SGD, so that a step is minus its gradient."""
    config.optimizer = base.sgd(lr=1.0, schedule="constant", momentum=0.0, weight_decay=0.0)
    return config


def step(config, source=SOURCE, target=UNLABELLED, num_heads=1):
    """(how far each parameter moves, figures)."""
    settings = dict(config=config, model=Linear(num_heads=num_heads))

    @jax.jit
    def run(batch):
        images = jnp.zeros((2, *SIZE_HW, 3))
        state = method.init(jax.random.key(0), images, **settings)
        after, metrics = method.train_step(state, batch, None, **settings)
        return jax.tree.map(jnp.subtract, after.params, state.params), metrics

    moves, metrics = run({"source": source, "target": target})
    return moves["segmenter"], metrics


def fda_stage(name="fda_05"):
    return plain(fda_config.get_config()[name])


def assert_same_moves(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_the_source_is_learnt_in_the_targets_style():
    """As from images that were swapped before, in RGB from 0 to 1."""
    config = fda_stage()
    moves, _ = step(config)
    mean, std = (
        jnp.asarray(config.style.normalisation[key]).reshape(1, 1, 1, 3) for key in ("mean", "std")
    )
    raw = [jnp.asarray(one["image"]) * std + mean for one in (SOURCE, TARGET)]
    swapped = (swap_amplitudes(*raw, beta=config.style.beta) - mean) / std
    config.style.update(of="source", beta=0.0)
    expected, _ = step(config, source=SOURCE | {"image": np.asarray(swapped)})
    assert_same_moves(moves, expected)
    own, _ = step(config)
    assert np.abs(own["layer6"]["kernel"] - moves["layer6"]["kernel"]).max() > 1e-2


def test_pseudo_labels_are_learnt_beside_the_rest():
    """FDA's self-training: the same step, and the target's cross-entropy."""
    without, _ = step(fda_stage())
    moves, metrics = step(fda_stage("sst1_05"), target=TARGET)
    assert metrics["segmentation_target"] > 0
    alone = fda_stage("sst1_05")
    alone.target_loss.weight = 0.0
    # a source without labels teaches nothing
    silent = SOURCE | {"label": np.full_like(SOURCE["label"], 255)}
    of_labels, _ = step(alone, source=silent, target=TARGET)
    assert_same_moves(moves, jax.tree.map(jnp.add, without, of_labels))


def test_guidance_teaches_the_auxiliary_head_alone():
    config = plain(maxsquare_config.get_config("scenes,levels=multi").max_square_iw_multi)
    config.guidance.threshold = 0.4
    moves, metrics = step(config, num_heads=2)
    assert metrics["guidance"] > 0 and "target_aux" not in metrics
    config.guidance.weight = 0.0
    without, _ = step(config, num_heads=2)
    assert_same_moves(moves["layer6"], without["layer6"])
    assert np.abs(moves["layer5"]["kernel"] - without["layer5"]["kernel"]).max() > 1e-4


def test_a_control_is_source_only_of_both_heads():
    config = plain(minent_config.get_config().control)
    _, metrics = step(config, num_heads=2)
    assert config.target_loss.weight == config.target_loss.aux_weight == 0.0
    terms = metrics["segmentation"] + config.loss.aux_weight * metrics["segmentation_aux"]
    np.testing.assert_allclose(metrics["loss"], terms, rtol=1e-6)


@pytest.mark.parametrize(
    "changes, num_heads, says",
    [
        ({"target_loss.aux_weight": 0.1}, 1, "target_loss.aux_weight=0.1: weighs a loss of the"),
        ({"guidance.weight": 0.1}, 1, "guidance.weight=0.1: weighs a loss of the second head"),
        ({"target_loss.kind": "robust_entropy"}, 1, "needs eta beside it, which this recipe"),
        ({"target_loss.ratio": 0.3}, 1, "target_loss.ratio=0.3: kind='entropy' does not read it"),
        ({"style.of": "target"}, 1, "style.of='target': needs beta, normalisation beside it"),
        ({"style.beta": 0.1}, 1, "style.beta=0.1: of='source' does not read it, 'target' does"),
    ],
)
def test_a_setting_that_nothing_reads_is_one_line(changes, num_heads, says):
    config = minent_config.get_config("scenes,levels=single").minent
    with config.unlocked():
        for key, value in changes.items():
            group, name = key.split(".")
            config[group][name] = value
    with pytest.raises(UserError) as error:
        step(plain(config), num_heads=num_heads)
    assert says in str(error.value)


def test_robust_entropy_has_no_auxiliary_head():
    config = fda_stage()
    config.target_loss.aux_weight = 0.1
    with pytest.raises(UserError, match="robust_entropy is of the main head's logits alone"):
        step(config, num_heads=2)


def test_images_of_two_sizes_have_no_style_in_common():
    target = part(np.zeros((2, 6, 6, 3), np.float32))
    with pytest.raises(UserError, match="of=.target.* source image 4x6, target image 6x6"):
        step(fda_stage(), target=target)


class Normalised:
    """A feed whose target comes in other numbers than its source."""

    def __init__(self, config, divisor=1.0):
        self.divisor = divisor
        self.found = dict(config.style.normalisation)
        self.found = {
            key: tuple(x) if key in ("mean", "std") else x for key, x in self.found.items()
        }

    def normalisation(self, domain):
        return self.found | ({"divisor": self.divisor} if domain == "target" else {})

    def shapes(self, domain):
        return shapes((4, 6) if domain == "source" else (6, 6))

    def __getattr__(self, name):
        return lambda *args: (name, *args)


def test_both_domains_come_in_the_numbers_of_the_style():
    config = fda_stage("sst1_05")
    with pytest.raises(
        UserError, match=r"style.normalisation.divisor=.*data.transforms.target.divisor is 1.0"
    ):
        method.check_data(None, data=Normalised(config), config=config)
    of_two_sizes = Normalised(config, config.style.normalisation.divisor)
    with pytest.raises(UserError, match=r"style.of='target' .* source image 4x6, target image 6x6"):
        method.check_data(None, data=of_two_sizes, config=config)
    config.style.update(of="source", beta=0.0)
    method.check_data(None, data=Normalised(config), config=config)
    parts = method.plan(None, data=Normalised(config), config=config)
    assert parts["target"] == ("with_pseudo_labels", config.batch_size, "mbt_0")
    assert parts["source"] == ("shuffled_with_labels", "source", config.batch_size)
