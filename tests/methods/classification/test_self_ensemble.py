"""SE: its teacher against the authors' (tier2_self_ensemble), what a step sees, what is refused."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close
from toy_classifier import ToyNetwork

from dajax.engine import teacher
from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.methods.classification import self_ensemble
from dajax.models.apply import forward_train
from dajax.models.classifier import Output
from dajax.models.norm import DomainBatchNorm
from dajax.recipes import self_ensemble as recipe
from dajax.state import TEACHER

TOLERANCE = 1e-4  # tests/golden/README.md
CLASSES, WIDTH = 3, 5


class LinearNorm(nn.Module):
    """The golden file's network."""

    width: int
    network = "classifier"

    @nn.compact
    def __call__(self, images, mode):
        x = nn.Dense(self.width, name="dense")(images)
        return Output(x, DomainBatchNorm(num_domains=1, name="norm")(x, mode))


@pytest.mark.parametrize("statistics, kind", [("own", "params_only"), ("averaged", "state_dict")])
def test_the_teacher_follows_as_the_authors(statistics, kind, golden):
    """Parameters and running means over several steps, of its own pass and of the student's."""
    case = golden("tier2_self_ensemble")[""]
    views, weights, taught, means, expected, bias = (
        case[f"ema_{kind}_{name}"] for name in ("x", "sw", "tw", "smean", "tmean", "bias")
    )
    config = recipe.get_config().self_ensemble
    config.statistics = statistics
    momentum = config.teacher.momentum
    width = len(bias)
    model = LinearNorm(width)

    def networks(weight, mean):
        norm = {"scale": jnp.ones((1, width)), "bias": jnp.zeros((1, width))}
        dense = {
            "kernel": jnp.asarray(weight.T, jnp.float32),
            "bias": jnp.asarray(bias, jnp.float32),
        }
        stats = {"mean": jnp.asarray(mean, jnp.float32)[None], "var": jnp.ones((1, width))}
        params = {"classifier": {"dense": dense, "norm": norm}}
        return {"params": params, "batch_stats": {"classifier": {"norm": stats}}}

    begins = (taught[0] - (1 - momentum) * weights[0]) / momentum
    now = networks(begins, np.zeros(width))
    for step, both in enumerate(views):
        seen = part(both[1].astype(np.float32))
        _, stats = forward_train(
            model, now["params"], now["batch_stats"], seen, norm_set=0, axis_name=None
        )
        student = networks(weights[step], means[step])
        # the student's variance is not in the file
        student["batch_stats"]["classifier"]["norm"]["var"] = stats["classifier"]["norm"]["var"]
        now = self_ensemble.follow(now, types.SimpleNamespace(**student), stats, config)
        kernel = now["params"]["classifier"]["dense"]["kernel"]
        mean = now["batch_stats"]["classifier"]["norm"]["mean"][0]
        assert_close(kernel.T, taught[step], TOLERANCE)
        assert_close(mean, expected[step], TOLERANCE)


def begun(**changes):
    config = recipe.get_config().self_ensemble
    config.update_from_flattened_dict(changes)
    model = ToyNetwork(CLASSES, (8, 6), num_domains=1, stops=False)
    state = METHODS["self_ensemble"].init(
        jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=model
    )
    return config, model, teacher.begin(state, config)


def test_the_teacher_sees_the_second_view_and_the_student_the_first():
    """A view that nobody may look at is of no effect: where no row is sure the student learns from
    the source alone, and the teacher's statistics are the second view's.
    """
    config, model, state = begun(threshold=1.0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 6, WIDTH)).astype(np.float32)

    @jax.jit
    def step(target, strong):
        source = part(images[0], np.arange(6) % CLASSES)
        target = {"image": target, "strong_image": strong, "mask": source["mask"]}
        batch = jax.tree.map(jnp.asarray, {"source": source, "target": target})
        return METHODS["self_ensemble"].train_step(
            state, batch, jax.random.key(0), config=config, model=model
        )

    (one, figures), (two, _), (three, _) = (
        step(images[1], images[2]),
        step(images[1], images[3]),
        step(images[3], images[2]),
    )
    assert figures["alignment"] == figures["confident_share"] == 0
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    jax.tree.map(np.testing.assert_array_equal, one.batch_stats, two.batch_stats)
    taught = [
        state.extra[TEACHER]["batch_stats"]["classifier"]["bn1"]["mean"]
        for state in (one, two, three)
    ]
    np.testing.assert_array_equal(taught[0], taught[2])
    assert (np.asarray(taught[0]) != taught[1]).any()


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"teacher.momentum": 0.0}, "teacher.momentum=0.0: keeps no teacher; set it above 0"),
        ({"balance": "even"}, "balance='even': unknown; known: bce, log, bug"),
        ({"statistics": "frozen"}, "statistics='frozen': unknown; known: own, averaged"),
        ({"supervised": "both"}, "supervised='both': unknown; known: logits, probabilities"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, says):
    with pytest.raises(UserError, match=says):
        begun(**changes)


def test_the_teacher_is_what_is_evaluated():
    for argument in ("digits", "visda2017,root=DIR,weights=none"):
        config = recipe.get_config(argument)
        assert config.self_ensemble.predict_with == config.control.predict_with == "teacher"
