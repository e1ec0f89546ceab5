"""Large arrays stand in memory once."""

import jax
import numpy as np

from dajax.ops.host_arrays import aligned_empty


def test_jax_uses_an_aligned_array_in_place():
    for shape in ((3, 5), (1000, 64), (7,)):
        array = aligned_empty(shape)
        assert array.shape == shape and array.dtype == np.float32 and array.ctypes.data % 64 == 0
        array[...] = 2.0
        on_device = jax.device_put(array, jax.devices("cpu")[0])
        assert on_device.unsafe_buffer_pointer() == array.ctypes.data
        np.testing.assert_array_equal(on_device, 2.0)
