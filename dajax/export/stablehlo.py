"""StableHLO by jax.export: one zip archive of the serialised program and what it says of itself.

`dajax.load` opens it; without dajax, jax.export.deserialize takes its entry PROGRAM.
"""

import json
import zipfile

import jax
import numpy as np
from jax import export

PROGRAM, CONTRACT = "program.jax_export", "contract.json"
ANY_SIZE = True
# A program is lowered for all of them, so that a file written on a laptop runs on a GPU.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def require():
    """Nothing: JAX is there."""


def write(path, trained, program, contract):
    """Writes the archive; arguments as formats.Format says."""
    del trained
    least = zip(("height", "width"), program.least_hw, strict=True)
    batch, height, width = export.symbolic_shape(
        "batch, height, width",
        constraints=[f"{name} >= {size}" for name, size in least if size > 1],
    )
    shape = (batch, program.height or height, program.width or width, program.channels)
    exported = export.export(
        jax.jit(lambda images: program.run(program.variables, images)), platforms=PLATFORMS
    )(jax.ShapeDtypeStruct(shape, np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CONTRACT, json.dumps(contract, indent=1))
        archive.writestr(PROGRAM, exported.serialize())


def reader(path, trained):
    """f(images) -> probabilities of the file, see formats.Format."""
    from dajax.export.exported import open_file

    del trained
    exported = open_file(path)
    return lambda images: exported.outputs(images)["probabilities"]
