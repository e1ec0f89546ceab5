"""Class-aware rows in class blocks: the same on 1, 4 and 8 devices, whatever padding the number of
devices asks for.
"""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from dajax import parallel
from dajax.methods.classification import _clustering_loop as alternation

# Classes x rows of each. Of 4 x 3 on 8 devices four rows are padding, one a class; of 2 x 10 as
# many, two a class.
SIZES = ((4, 3), (2, 10), (3, 2))
DEVICES = (1, 4, 8)


def padded(num_blocks, per_class, devices):
    """Row numbers 0 .. R - 1 and then -1, split over devices: int32 [devices, R' / devices]."""
    rows = np.arange(num_blocks * per_class, dtype=np.int32)
    return np.pad(rows, (0, -len(rows) % devices), constant_values=-1).reshape(devices, -1)


@pytest.mark.parametrize("num_blocks, per_class", SIZES)
@pytest.mark.parametrize("devices", DEVICES)
def test_padding_ends_in_no_block(num_blocks, per_class, devices):
    """Eight devices in one: vmap has the same device axis."""
    blocks = jax.vmap(
        lambda rows: alternation.class_blocks(rows, num_blocks, per_class, parallel.AXIS),
        axis_name=parallel.AXIS,
    )
    found = blocks(padded(num_blocks, per_class, devices))
    assert found.shape == (devices, num_blocks, per_class)
    for own in found:
        np.testing.assert_array_equal(own.reshape(-1), np.arange(num_blocks * per_class))


def test_a_batch_of_too_few_rows_is_an_error():
    with pytest.raises(ValueError, match="4 classes of 3 rows need 12 rows, the batch has 11"):
        alternation.class_blocks(jnp.zeros((11, 2)), 4, 3, None)


PROGRAM = """
import json, sys
sys.path[:0] = [".", "tests"]
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np
from dajax.recipes import can as can_config
from dajax import parallel
from dajax.losses.cdd import cdd
from dajax.methods.classification import _clustering_loop as alternation
from dajax.models.classifier import Output

found = {}
for num_blocks, per_class in json.loads(sys.argv[1]):
    config = can_config.get_config().can
    config.class_aware.update(
        num_classes=num_blocks,
        source_per_class=per_class,
        target_per_class=per_class,
        max_share=1.0,
    )
    rng, count = np.random.default_rng(0), num_blocks * per_class

    def step(state, batch, rng, axis_name):
        sides = [
            alternation.aligned_blocks(Output(*x[:2]), x[2], per_class, config, axis_name)
            for x in batch
        ]
        (source, source_mask), (target, target_mask) = sides
        kernels = dict(kernel_num=config.cdd.kernel_num, kernel_mul=config.cdd.kernel_mul)
        masks = source_mask, target_mask
        value = cdd(source, target, *masks, num_classes=num_blocks, **kernels).total
        return state, {"cdd": parallel.total(parallel.share(value, axis_name), axis_name)}

    sides = [
        (rng.normal(size=(count, 6)), rng.normal(size=(count, num_blocks)), np.ones(count, bool))
        for _ in range(2)
    ]

    def padded(x, spare):
        x = np.pad(x, ((0, spare),) + ((0, 0),) * (x.ndim - 1))
        return x.astype(bool if x.dtype == bool else np.float32)

    for devices in json.loads(sys.argv[2]):
        spare = -count % devices
        batch = [[padded(x, spare) for x in side] for side in sides]
        compiled = parallel.compile_train_step(step, jax.devices()[:devices])
        _, metrics = compiled(jnp.zeros(()), batch, jax.random.key(0))
        found[f"{num_blocks} x {per_class} on {devices}"] = float(metrics["cdd"])
print(json.dumps(found))
"""


def test_cdd_is_the_same_on_one_four_and_eight_devices():
    """Real devices of a process of their own: the tests have four."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(SIZES[:2]), json.dumps(DEVICES)]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(SIZES[:2]) * len(DEVICES)
    for size in ("4 x 3", "2 x 10"):
        values = [found[f"{size} on {devices}"] for devices in DEVICES]
        assert values[0] != 0
        np.testing.assert_allclose(values, values[0], rtol=1e-5, err_msg=size)  # float32 sums
