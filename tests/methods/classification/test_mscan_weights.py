"""Over what the cross-entropy of MSCAN's weights is taken: the batch, the batches so far, the whole
source.

The network is a table of logits, so that a cross-entropy is what a test says it is. A distance of
means stands for CDD, which takes long to compile and which test_mscan.py looks at. What a
clustering measures is tested there, too.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close
from golden_arrays import between
from toy_classifier import Lookup

from dajax import parallel
from dajax.engine.checkpoint import Checkpoints
from dajax.errors import UserError
from dajax.losses.boundary_sensitive import FLOOR
from dajax.methods import Sizes
from dajax.methods.classification import mscan
from dajax.recipes import mscan as recipe
from dajax.recipes.base import classification as cls_base

SOURCES, CLASSES, EXAMPLES = 3, 2, 8
MODEL = Lookup(CLASSES, 4)
EYE = np.eye(EXAMPLES, dtype=np.float32)
OVER = ("batch", "average", "source")
BLOCKS = [0, 1, 2, 3]  # examples of the class-aware batches, two a class


@pytest.fixture(autouse=True)
def distance_of_means(monkeypatch):
    def distance(source, target, *_, **__):
        return types.SimpleNamespace(total=((source[0] + 1.0).mean() - target[0].mean()) ** 2)

    monkeypatch.setattr(mscan, "cdd", distance)


def stage(over, num_sources=SOURCES, **settings):
    """The recipe's stage, with the formula's floor where `settings` has no other."""
    config = recipe.mscan_stage(cls_base.parse(f"digits,bsa={over}", recipe.VARIANTS), num_sources)
    config.class_aware.update(
        num_classes=CLASSES, source_per_class=2, target_per_class=2, max_share=1.0
    )
    config.update(dict(bsa_floor=FLOOR) | settings)
    return config


def initial(config, model=MODEL, shape=(EXAMPLES,), num_sources=SOURCES):
    sizes = Sizes(source=1, target=EXAMPLES, num_sources=num_sources)
    return mscan.init(
        jax.random.key(0), jnp.zeros((2, *shape)), config=config, model=model, sizes=sizes
    )


def with_logits(state, logits):
    """The state of a network that gives example i the row i of `logits`, float [EXAMPLES, K]."""
    head = {**state.params["classifier"]["head"], "kernel": jnp.asarray(logits, jnp.float32)}
    return state.replace(params={"classifier": {**state.params["classifier"], "head": head}})


def step_of(config, devices=None):
    def step(state, batch, rng, axis_name):
        return mscan.train_step(state, batch, rng, config=config, model=MODEL, axis_name=axis_name)

    return parallel.compile_train_step(step, devices or jax.devices()[:1])


def batch_of(rows):
    """One list of examples a source, all of class 0."""
    parts = {"class_target": part(EYE[BLOCKS])}
    for i, own in enumerate(rows):
        parts[f"source{i}"] = part(EYE[own], np.zeros(len(own)))
        parts[f"class_source{i}"] = part(EYE[BLOCKS])
    return parts


def logits_of(entropies):
    """Logits [E, 2] whose cross-entropies for class 0 are these: log(1 + e^x) = c."""
    x = np.log(np.expm1(np.asarray(entropies, np.float64)))
    return np.stack([np.zeros_like(x), x], axis=1)


def entropies_of(state, rows):
    """float64 [E]: the cross-entropies of the state's network for `batch_of(rows)`."""
    logits = np.asarray(state.params["classifier"]["head"]["kernel"], np.float64)
    each = np.log(np.exp(logits).sum(1)) - logits[:, 0]
    return np.array([each[own].mean() for own in rows])


def weights_in(figures):
    return np.array([figures[f"weight{e}"] for e in range(len(between(figures, "weight")))])


def inverse(entropies):
    return (1 / np.asarray(entropies)) / (1 / np.asarray(entropies)).sum()


def of_file(case, over, **settings):
    """(config, state, logits, rows) of the golden file: a source's cross-entropy is that of its one
    row.
    """
    count = len(case["ce"])
    config, logits = stage(over, count, **settings), np.zeros((EXAMPLES, CLASSES))
    config.cdd.weight = float(case["beta"])
    logits[:count] = logits_of(case["ce"])
    return config, initial(config, num_sources=count), logits, [[i] for i in range(count)]


@pytest.mark.parametrize("over", OVER)
def test_the_weights_are_the_formula_whatever_the_cross_entropy_is_taken_over(golden, over):
    """The golden file's, as the first batch's, and as those of the whole sources."""
    config, state, logits, rows = of_file(golden("can_bsa")["bsa"], over)
    case, sources = golden("can_bsa")["bsa"], range(len(rows))
    if over == "source":  # the batch's cross-entropies are others
        state.extra[mscan.REMEMBERED] = jnp.asarray(case["ce"])
        rows = rows[::-1]
    after, metrics = step_of(config)(with_logits(state, logits), batch_of(rows), None)
    assert_close(weights_in(metrics), case["weight"], 1e-5)
    pull = sum(float(metrics[f"cdd{e}"]) * case["weight"][e] for e in sources)
    entropies = sum(float(metrics[f"ce{e}"]) for e in sources)
    assert_close(metrics["loss"], entropies + float(case["beta"]) * pull, 1e-5)
    if over == "source":
        np.testing.assert_array_equal(
            after.extra[mscan.REMEMBERED], case["ce"], "until the next clustering"
        )


def test_an_average_is_the_plain_mean_of_the_first_batches_and_then_forgets():
    """With momentum 0.6: the first batch's; half and half; then 0.6 of what was."""
    config = stage("average", bsa_momentum=0.6)
    state, step, average = initial(config), step_of(config), None
    for i, momentum in enumerate((0.0, 0.5, 0.6)):
        rows = [[i], [i + 1, i + 2], [i + 3, i + 3]]
        now = entropies_of(state, rows)
        average = now if average is None else momentum * average + (1 - momentum) * now
        state, metrics = step(state, batch_of(rows), None)
        assert_close(weights_in(metrics), inverse(average), 1e-5)
        assert_close(state.extra[mscan.REMEMBERED], average, 1e-5)


def test_an_average_on_four_devices_is_that_on_one_and_goes_on_from_a_checkpoint(tmp_path):
    """Rows are split unevenly: three of eight, of two devices, count."""
    config, outcomes = stage("average"), []
    batches = [batch_of([[i, i + 1, i + 2, 3], [4, 5, i, 0], [i, 6, 7, 2]]) for i in range(3)]
    for parts in batches:
        for e in range(SOURCES):
            parts[f"source{e}"]["mask"][e + 1 :] = False
    for devices in (jax.devices()[:1], jax.devices()):
        assert len(devices) in (1, 4)
        step, state = step_of(config, devices), initial(config)
        for i, parts in enumerate(batches):
            if i == 2:
                checkpoints = Checkpoints(tmp_path / str(len(devices)), keep=1)
                checkpoints.save(state, {})
                checkpoints.wait()
                restored, _ = checkpoints.restore(initial(config))
            state, metrics = step(state, parts, None)
        again, same = step(restored, batches[2], None)
        np.testing.assert_array_equal(weights_in(same), weights_in(metrics))
        np.testing.assert_array_equal(again.extra[mscan.REMEMBERED], state.extra[mscan.REMEMBERED])
        outcomes.append((weights_in(metrics), np.asarray(state.extra[mscan.REMEMBERED])))
    for one, four in zip(*outcomes, strict=True):
        np.testing.assert_allclose(four, one, rtol=1e-5)


def test_what_does_not_go_together_is_one_clear_line():
    for over in ("average", "source"):
        with pytest.raises(UserError, match="weight_stop_gradient=False: weighting='bsa_") as error:
            initial(stage(over, weight_stop_gradient=False))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="weighting='bsa_average': needs bsa_momentum beside it"):
        initial(stage("batch", weighting="bsa_average"))
    with pytest.raises(ValueError, match="'bsa=mean': known: batch, average, source"):
        recipe.get_config("bsa=mean")


@pytest.mark.parametrize("over", OVER)
def test_sources_that_are_all_learnt_pull_alike(over, golden):
    """Cross-entropies below the floor count as the floor, in the weights alone."""
    case = golden("can_bsa")["bsa"]
    floor = float(np.sort(case["ce"])[-2])  # all but one lie at it or below
    config, state, logits, rows = of_file(case, over, bsa_floor=floor)
    if over == "source":
        state.extra[mscan.REMEMBERED] = jnp.asarray(case["ce"])
    _, metrics = step_of(config)(with_logits(state, logits), batch_of(rows), None)
    assert_close(weights_in(metrics), inverse(np.maximum(case["ce"], floor)), 1e-5)
    for e in range(len(rows)):
        assert_close(metrics[f"ce{e}"], case["ce"][e], 1e-5)


def test_the_published_variants_keep_the_slides_formula():
    """What they do not say is ours; a network from random weights has another default."""
    config = recipe.get_config("domainnet,root=DIR,target=clipart,weights=none").mscan
    assert (config.weighting, config.bsa_floor) == ("bsa", 1e-6)
    for argument in (None, "folder,root=DIR,source=A+B,target=C"):
        config = recipe.get_config(argument).mscan
        assert (config.weighting, config.bsa_floor) == ("bsa_average", 0.1)


def test_the_recipe_names_what_it_weighs_by():
    for over, word in (("batch", "bsa"), ("average", "bsa_average"), ("source", "bsa_source")):
        config = recipe.get_config(f"bsa={over}")
        assert config.mscan.weighting == word and config.mscan_without_bsa.weighting == "uniform"
        assert ("bsa_momentum" in config.mscan) == (over == "average")
        assert "bsa_momentum" not in config.mscan_without_bsa
        assert config.name.endswith(over) == (over != recipe.FROM_SCRATCH)
