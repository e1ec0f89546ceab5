"""ONNX by jax2onnx (the extra "onnx" of pyproject.toml); what it writes is run with onnxruntime."""

import contextlib
import json
import logging
import shlex

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, primitives

from dajax.errors import UserError

# jax2onnx follows a batch of any size through a network, and no height and width.
ANY_SIZE = False
# Calls of a function: the parameter that holds it. jit and, as in both relus, custom derivatives.
_CALLS = {
    primitives.jit_p: "jaxpr",
    primitives.custom_jvp_call_p: "call_jaxpr",
    primitives.custom_vjp_call_p: "call_jaxpr",
}
_OUTPUTS = ("classes", "probabilities", "logits")
# The extra "onnx" of pyproject.toml.
REQUIREMENTS = ("jax2onnx>=0.13.0", "onnxruntime>=1.32.0")


def require():
    """Raises UserError where the extra is absent."""
    try:
        import jax2onnx  # noqa: F401  optional and large: only here
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--format=onnx needs jax2onnx and onnxruntime ({error}): pip install"
            f" {shlex.join(REQUIREMENTS)}, or choose another --format"
        ) from error


def write(path, trained, program, contract):
    """Writes the file; arguments as formats.Format says. Its metadata_props have the contract under
    "dajax".
    """
    from jax2onnx import to_onnx

    del trained

    def run(images):
        outputs = program.run(program.variables, images)
        return tuple(outputs[name] for name in _OUTPUTS)

    shape = ("batch", program.height, program.width, program.channels)
    with _quiet("onnx_ir", "jax2onnx"):
        model = to_onnx(
            without_pads(run),
            inputs=[jax.ShapeDtypeStruct(shape, np.uint8)],
            model_name=f"{contract['recipe']}-{contract['stage']}",
            input_names=[contract["input"]["name"]],
            output_names=list(_OUTPUTS),
        )
    entry = model.metadata_props.add()
    entry.key, entry.value = "dajax", json.dumps(contract)
    path.write_bytes(model.SerializeToString())


def reader(path, trained):
    """f(images) -> probabilities of the file in onnxruntime, on the CPU; see formats.Format."""
    import onnxruntime

    del trained
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def without_pads(function):
    """The function with zeros concatenated, or ends cut off, in place of every lax.pad: jax2onnx
    0.13 writes no lax.pad of a batch of any size.

    Args:
      function: of arrays, to a tuple of arrays.
    """

    def rewritten(*arrays):
        closed = jax.make_jaxpr(function)(*arrays)
        return tuple(_evaluated(closed.jaxpr, closed.consts, arrays))

    return rewritten


def _evaluated(jaxpr, constants, arrays):
    """Outputs of a jaxpr, its pads replaced, also in the functions that it calls."""
    values = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= dict(zip(jaxpr.invars, arrays, strict=True))

    def value(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [value(atom) for atom in equation.invars]
        if equation.primitive is primitives.pad_p:
            outputs = [_padded(*inputs, equation.params["padding_config"])]
        elif equation.primitive in _CALLS:
            inner = equation.params[_CALLS[equation.primitive]]
            outputs = _evaluated(inner.jaxpr, inner.consts, inputs)
        else:
            outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _padded(array, fill, config):
    """lax.pad without padding between the entries, which no network here has."""
    for axis, (before, after, between) in enumerate(config):
        if between:
            raise NotImplementedError(f"lax.pad with {between} entries between: not written here")
        end = array.shape[axis] + min(after, 0)
        if before < 0 or after < 0:
            array = jax.lax.slice_in_dim(array, max(-before, 0), end, axis=axis)
        parts = [
            jnp.broadcast_to(fill, array.shape[:axis] + (count,) + array.shape[axis + 1 :])
            for count in (max(before, 0), max(after, 0))
        ]
        parts.insert(1, array)
        kept = [part for part in parts if part is array or part.shape[axis]]
        array = jnp.concatenate(kept, axis) if len(kept) > 1 else array
    return array


@contextlib.contextmanager
def _quiet(*names):
    """These loggers say errors alone: onnx_ir warns of every shape that it does not note down."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
