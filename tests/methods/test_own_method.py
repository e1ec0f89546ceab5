"""A method of one's own, anywhere that Python finds it: no file of the package is edited."""

import importlib
import sys
import textwrap
import types

import in_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from dajax import methods
from dajax.cli import recipe
from dajax.engine import stage_checks, train
from dajax.errors import UserError
from dajax.tasks.classification import setup

METHOD = '''
"""Source only whose loss is the squared error to the one-hot label."""

import jax
import jax.numpy as jnp
import optax

from dajax.models.apply import forward_train, init_network
from dajax.parallel import masked_mean, total
from dajax.state import TrainState


def init(rng, images, *, model, **_):
    params, batch_stats = init_network(rng, images, model=model)
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state={})


def plan(_state, *, data, config):
    return {"source": data.shuffled("source", config.batch_size)}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    source = batch["source"]

    def loss_fn(params):
        output, batch_stats = forward_train(
            model, params, state.batch_stats, source, norm_set=0, axis_name=axis_name, rng=rng
        )
        wanted = jax.nn.one_hot(source["label"], model.num_classes)
        squares = jnp.square(output.logits - wanted).sum(-1)
        return masked_mean(squares, source["mask"], axis_name), batch_stats

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    grads = total(grads, axis_name)
    params = jax.tree.map(lambda p, g: p - config.optimizer.lr * g, state.params, grads)
    after = state.replace(step=state.step + 1, params=params, batch_stats=batch_stats)
    return after, {"loss": total(loss, axis_name), "square": optax.global_norm(grads)}
'''
RECIPE = """
from dajax.recipes import can


def get_config(arg=None):
    config = can.get_config(arg)
    config.mine = config.source_only.copy_and_resolve_references()
    config.mine.update(method="my_package.my_method", steps=2)
    config.stages = ("mine",)
    return config
"""
FILES = {
    "my_package/__init__.py": "",
    "my_package/my_method.py": METHOD,
    "my_package/of_one_task.py": 'TASK = "segmentation"\n' + METHOD,
    "my_package/no_method.py": "x = 1\n",
    "my_package/misspelled.py": METHOD.replace("def plan(", "def plann("),
    "my_package/slip.py": "def init(:\n",
    "my_package/needs.py": "import a_library_that_is_not_there\n",
    "my_package/broken.py": "x = 1\ny = x / 0\n",
    "my_recipe.py": RECIPE,
}
SMALL = (
    "--config.data.per_class=4",
    "--config.mine.batch_size=8",
    "--config.evaluation.reestimate_batches=0",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a package of one's own, from which the run is started."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_step_of_ones_own_is_compiled_and_done_as_any_other(folder):
    """With what the engine gives a method: the load-time check, init with sizes, the step."""
    config = recipe.read(str(folder / "my_recipe.py"), ())
    stage_checks.check_before_data(config)
    method, model = stage_checks.method_of(config, "mine"), in_process.flat(None, config.mine, 3)
    sizes = methods.Sizes(source=4, target=4, num_sources=1)
    state = method.init(
        jax.random.key(0), jnp.zeros((2, 4)), config=config.mine, model=model, sizes=sizes
    )
    rows = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    part = {"image": rows, "label": np.arange(4, dtype=np.int32) % 3, "mask": np.ones(4, bool)}
    stage = types.SimpleNamespace(
        method=method,
        model=model,
        stage_config=config.mine,
        data=types.SimpleNamespace(devices=jax.devices()[:1]),
    )
    step = train.compile_step(stage)
    state, first = step(state, {"source": part}, jax.random.key(0))
    state, second = step(state, {"source": part}, jax.random.key(0))
    assert int(state.step) == 2 and 0 < second["loss"] < first["loss"]


@pytest.mark.slow
def test_a_recipe_of_ones_own_trains_with_a_method_of_ones_own(folder, monkeypatch):
    monkeypatch.setattr(setup, "build_network", in_process.flat)
    config = recipe.read(str(folder / "my_recipe.py"), SMALL)
    with in_process.compiled_programs_kept():
        in_process.run(config, folder / "run")
    lines = [line for line in in_process.metrics(folder / "run", "mine") if "square" in line]
    assert len(lines) == 2 and lines[0]["loss"] != lines[1]["loss"]


def test_the_command_line_takes_a_method_of_ones_own(folder):
    path = f"{tiny.ROOT}/configs/can.py"
    config = recipe.read(path, ("--config.source_only.method=my_package.my_method",))
    stage_checks.check_before_data(config)
    method = stage_checks.method_of(config, "source_only")
    assert method.__file__ == str(folder / "my_package" / "my_method.py")


def test_a_method_without_task_is_for_both_and_one_with_it_for_that_one(folder):
    for task in ("classification", "segmentation"):
        assert methods.get("my_package.my_method", task, "config.x.method")
    assert methods.get("my_package.of_one_task", "segmentation", "config.x.method")
    with pytest.raises(UserError, match="is a method of the other task, this is classification"):
        methods.get("my_package.of_one_task", "classification", "config.x.method")


@pytest.mark.parametrize(
    "name, says",
    [
        ("my_package.nothing", "there is no module my_package.nothing in this environment"),
        ("nothing.at_all", "there is no module nothing in this environment, on PYTHONPATH or in"),
        ("my_package.no_method", "is no method: it has none of the functions init, plan"),
        ("my_package.misspelled", "has train_step and no plan"),
        ("my_package.slip", "cannot be imported: SyntaxError: "),
        ("my_package.needs", "No module named 'a_library_that_is_not_there'"),
        ("my_package.broken", "ZeroDivisionError: division by zero ("),
        ("my_package.", "cannot be imported: "),
        (".my_method", "cannot be imported: "),
        ("my_method", "is unknown; methods of classification: adabn, afn, can"),
    ],
)
def test_what_is_no_method_or_cannot_be_imported_is_one_line(folder, name, says):
    config = recipe.read(f"{tiny.ROOT}/configs/can.py", (f"--config.source_only.method={name}",))
    with pytest.raises(UserError) as error:
        stage_checks.check_before_data(config)
    line = str(error.value)
    assert line.startswith(f"config.source_only.method='{name}'") and says in line, line
    assert "\n" not in line
    if "broken" in name:
        assert f"{folder / 'my_package' / 'broken.py'}, line 2" in line
    if "slip" in name:
        assert f"{folder / 'my_package' / 'slip.py'}, line 1" in line
