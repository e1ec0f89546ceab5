"""The annotations of losses, ops and parallel: complete, checked here, and harmless without
jaxtyping.
"""

import ast
import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jaxtyping import TypeCheckError

from dajax import parallel
from dajax.losses.classification import cross_entropy
from dajax.ops.prototypes import class_means

PACKAGE = tiny.ROOT / "dajax"
ANNOTATED = [
    *sorted((PACKAGE / "losses").glob("*.py")),
    *sorted((PACKAGE / "ops").glob("*.py")),
    PACKAGE / "parallel.py",
]


def public_functions(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_every_public_function_tells_the_types_of_its_arguments_and_result():
    functions = [(path, node) for path in ANNOTATED for node in public_functions(path)]
    assert len(functions) > 80
    for path, node in functions:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        untold = [argument.arg for argument in arguments if argument.annotation is None]
        assert not untold and node.returns is not None, f"{path}, {node.name}: {untold}"


LOGITS, LABELS = jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32)


@pytest.mark.parametrize(
    "logits, labels",
    [(LOGITS, jnp.zeros(2)), (LOGITS, LABELS[:1]), (LOGITS[None], LABELS), (LABELS, LABELS)],
    ids=["dtype", "size", "axes", "other dtype"],
)
def test_a_wrong_dtype_or_shape_is_an_error_in_the_tests(logits, labels):
    with pytest.raises(TypeCheckError):
        cross_entropy(logits, labels)
    with pytest.raises(TypeCheckError):
        jax.jit(cross_entropy)(logits, labels)


def test_the_arrays_of_every_transformation_are_arrays():
    def loss(logits, labels):
        values = cross_entropy(logits, labels)
        return parallel.total(parallel.masked_mean(values, values > -1, "rows"), "rows")

    rows = jnp.zeros((2, 2, 3)), jnp.zeros((2, 2), jnp.int32)
    step = jax.jit(jax.vmap(jax.value_and_grad(loss), axis_name="rows"))
    value, _ = step(*rows)
    np.testing.assert_allclose(value, np.log(3), rtol=1e-6)
    mapped, _ = jax.pmap(jax.grad(loss, has_aux=False), axis_name="rows")(*rows), None
    assert mapped.shape == (2, 2, 3)


def loaded(path):
    """A module as a user's process has it: without the tests' import hook, under a name of its
    own.
    """
    spec = importlib.util.spec_from_file_location(f"_plain_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("installed", [True, False], ids=["with jaxtyping", "without"])
def test_users_need_no_jaxtyping_and_pay_nothing_for_the_annotations(monkeypatch, installed):
    if not installed:
        monkeypatch.setitem(sys.modules, "jaxtyping", None)  # any import of it now fails
    monkeypatch.setitem(sys.modules, "dajax.typing", loaded(PACKAGE / "typing.py"))
    checked = 0
    for path in ANNOTATED:
        module = loaded(path)
        for node in public_functions(path):
            function = getattr(module, node.name)
            inner = getattr(function, "__wrapped__", function)  # of jax.jit and jax.custom_vjp
            assert inner.__code__.co_filename == str(path), "the function itself, without a check"
            checked += 1
    assert checked > 80
    sums, counts = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    plain = loaded(PACKAGE / "ops" / "prototypes.py").class_means(sums, counts)  # numpy: no error
    with pytest.raises(TypeCheckError):
        class_means(sums, counts)
    assert not plain[1].any()
