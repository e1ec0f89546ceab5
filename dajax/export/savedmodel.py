"""A TensorFlow SavedModel by jax2tf: a folder for TF Serving, TensorFlow and its tools."""

import json
import pathlib

import numpy as np

from dajax.errors import UserError
from dajax.export.stablehlo import PLATFORMS

ANY_SIZE = True
CONTRACT = "assets.extra/contract.json"  # the folder that SavedModel keeps for others' files
_SIGNATURE = "serving_default"


def require():
    """Raises UserError where TensorFlow is absent."""
    try:
        import tensorflow  # noqa: F401  large, and of no use elsewhere: only here
    except ImportError as error:
        raise UserError(
            f"--format=savedmodel needs TensorFlow ({error}):"
            " pip install 'tensorflow-cpu>=2.21.0', or choose another --format"
        ) from error


def write(path, trained, program, contract):
    """Writes the folder; arguments as formats.Format says. Its variables are the network's."""
    import tensorflow as tf
    from jax.experimental import jax2tf

    del trained
    least = zip(("height", "width"), program.least_hw, strict=True)
    hw = [size or name for size, name in ((program.height, "height"), (program.width, "width"))]
    predict = jax2tf.convert(
        program.run,
        polymorphic_shapes=[None, f"(batch, {hw[0]}, {hw[1]}, {program.channels})"],
        polymorphic_constraints=[f"{name} >= {size}" for name, size in least if size > 1],
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    module = tf.Module()
    module.network = tf.nest.map_structure(
        lambda array: tf.Variable(np.asarray(array), trainable=False), program.variables
    )
    shape = [None, program.height, program.width, program.channels]
    module.predict = tf.function(
        lambda images: predict(module.network, images),
        autograph=False,
        input_signature=[tf.TensorSpec(shape, tf.uint8, name=contract["input"]["name"])],
    )
    tf.saved_model.save(module, str(path), signatures={_SIGNATURE: module.predict})
    extra = pathlib.Path(path) / CONTRACT
    extra.parent.mkdir()
    extra.write_text(json.dumps(contract, indent=1) + "\n")


def reader(path, trained):
    """f(images) -> probabilities of the folder's signature, see formats.Format."""
    import tensorflow as tf

    del trained
    # held by the function below: the signature does not keep its variables alive
    loaded = tf.saved_model.load(str(path))

    def probabilities(images):
        return loaded.signatures[_SIGNATURE](images=tf.constant(images))["probabilities"].numpy()

    return probabilities
