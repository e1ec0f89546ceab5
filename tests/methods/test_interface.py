"""What a method is, and that a module that is none is refused by one clear line."""

import inspect
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dajax import methods
from dajax.errors import UserError
from dajax.methods import METHODS, _step, interface

ROOMS = {
    "dajax.methods.classification": "classification",
    "dajax.methods.segmentation": "segmentation",
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_one_for_the_task_of_its_room(name):
    method = METHODS[name]
    interface.check(method, name)
    room = method.__name__.rpartition(".")[0]
    if room in ROOMS:
        assert method.TASK == ROOMS[room]
    tasks = [task for task in ROOMS.values() if methods.is_for(method, task)]
    for task in tasks:
        assert methods.get(name, task, "config.stage.method") is method
    assert tasks


def test_a_method_of_the_other_task_is_refused_with_those_of_this_one():
    with pytest.raises(UserError) as error:
        methods.get("clan", "classification", "config.can.method")
    message = str(error.value)
    assert message.startswith("config.can.method='clan' is a method of the other task")
    assert "mscan" in message and "plca" not in message and "adabn" in message


def init(rng, images, *, config, model, sizes):
    """Of a method that reads everything."""


def plan(_state, *, data, **_):
    """Of a method that reads little."""


def train_step(state, batch, _rng, *, axis_name=None, **_):
    """Of a method that reads little."""


def schedule(state, *, config):
    """Reads everything."""


def refresh(_state, **_):
    """Reads nothing."""


GOOD = dict(init=init, plan=plan, train_step=train_step, schedule=schedule, refresh=refresh)


def module(**functions):
    return types.SimpleNamespace(**functions)


def without(*names):
    return module(**{name: function for name, function in GOOD.items() if name not in names})


@pytest.mark.parametrize("lacking", [(), ("schedule", "refresh"), ("plan", "train_step")])
def test_a_method_trains_or_refreshes_or_does_both(lacking):
    interface.check(without(*lacking), "x")


@pytest.mark.parametrize(
    "lacking, says",
    [
        (("init",), "is no method: it has plan, refresh, schedule, train_step of the functions"),
        (tuple(GOOD), "is no method: it has none of the functions init, plan, train_step"),
        (("train_step", "refresh"), "is no method"),
        (("schedule",), "has refresh and no schedule; schedule says when refresh is due, else it"),
        (("refresh",), "has schedule and no refresh"),
        (("plan",), "has train_step and no plan"),
        (("train_step",), "has plan and no train_step"),
    ],
)
def test_a_module_that_lacks_a_function_is_one_line(lacking, says):
    with pytest.raises(UserError) as error:
        interface.check(without(*lacking), "config.x.method='a.b'")
    assert str(error.value).startswith("config.x.method='a.b'") and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, function, says",
    [
        ("init", lambda rng, images, *, config, model: 0, "unexpected keyword argument 'sizes'"),
        ("init", lambda rng, images, *, num_images, **_: 0, "required argument: 'num_images'"),
        ("init", lambda rng, images, *, num_images=0, **_: 0, "takes num_images, but is called"),
        ("plan", lambda *, data, config: 0, "too many positional arguments"),
        ("train_step", lambda state, batch, **_: 0, "too many positional arguments"),
        ("train_step", lambda state, batch, rng, *, axisname=None, **_: 0, "takes axisname"),
        ("schedule", lambda state, config, data: 0, "required argument: 'data'"),
        ("refresh", lambda state, *, data, config: 0, "unexpected keyword argument 'model'"),
    ],
)
def test_a_function_that_does_not_take_what_it_is_given_is_one_line(name, function, says):
    with pytest.raises(UserError) as error:
        interface.check(module(**GOOD | {name: function}), "config.x.method='a.b'")
    message = str(error.value)
    assert message.startswith(f"config.x.method='a.b': {name} ") and says in message
    assert "\n" not in message and f"({', '.join(positions(name))}, " in message


def positions(name):
    parameters = inspect.signature(getattr(interface.Method, name)).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name != "self"]


def test_nothing_of_a_method_has_to_be_deleted():
    """`**_` takes what a function does not read, so no method writes `del`."""
    for method in METHODS.values():
        assert "    del " not in inspect.getsource(method)


def test_the_mask_of_rows_is_the_mask_of_their_pixels():
    mask, labels = jnp.array([True, False]), jnp.arange(2 * 3 * 4).reshape(2, 3, 4)
    everywhere = np.asarray(_step.pixel_mask(mask, (2, 3, 4)))
    assert everywhere[0].all() and not everywhere[1].any()
    np.testing.assert_array_equal(
        _step.without_padding(labels, mask), np.where(everywhere, labels, 255)
    )


def test_parts_without_a_gradient_are_left_alone():
    optimizers = {
        name: _step.Optimizer(optax.sgd(rate), lambda _, rate=rate: rate)
        for name, rate in (("a", 1.0), ("b", 0.5))
    }
    parts = {"a": {"net": jnp.ones(2)}, "b": {"other": jnp.ones(3)}}
    state = _step.initial_opt_states(optimizers, parts)
    moved, _ = _step.update_parts(optimizers, {"b": {"other": jnp.ones(3)}}, state, parts)
    np.testing.assert_array_equal(moved["a"]["net"], 1.0)
    np.testing.assert_array_equal(moved["b"]["other"], 0.5)
    assert _step.learning_rates(optimizers, 0) == {"learning_rate_a": 1.0, "learning_rate_b": 0.5}
    assert jax.tree.structure(moved) == jax.tree.structure(parts)
