"""2-D convolution, in the forms that XLA's CPU compiler is fast at."""

import functools

import jax
import jax.numpy as jnp

# Of a layer's input and output: from here on products are the faster gradient of a kernel on a CPU.
# Processor time of XLA's convolution against theirs, 3x3 at 33x65: 20 ms to 28 at 64 channels,
# 25 to 19 at 128, 81 to 47 at 256, 345 to 195 at 512 (docs/performance.md).
WIDE = 128


def convolve(x, kernel, *, stride=1, padding=0, dilation=1):
    """torch's conv2d.

    Args:
      x: float [N, H, W, in].
      kernel: float [kh, kw, in, out].
      stride, padding, dilation: of both axes; `padding` zeros on each side.

    Returns:
      float [N, h, w, out], h = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1.
    """
    if kernel.shape[:2] == (1, 1) and padding == 0:
        return _pointwise(x, kernel, stride)
    if min(kernel.shape[2:]) >= WIDE:
        return _wide(x, kernel, stride, padding, dilation)
    return _direct(x, kernel, stride, padding, dilation)


def _direct(x, kernel, stride, padding, dilation):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride,) * 2,
        padding=((padding,) * 2,) * 2,
        rhs_dilation=(dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _pointwise(x, kernel, stride):
    """A 1x1 convolution as a matrix product: XLA's CPU convolutions are slow for it, and slowest in
    the gradient.
    """
    x = x[:, ::stride, ::stride]
    n, h, w, channels = x.shape
    y = jnp.dot(x.reshape(n * h * w, channels), kernel.reshape(channels, -1))  # [N*h*w, out]
    return y.reshape(n, h, w, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _wide(x, kernel, stride, padding, dilation):
    """`_direct`, whose gradient of the kernel is, on a CPU, a matrix product for each of the
    kernel's places.
    """
    return _direct(x, kernel, stride, padding, dilation)


def _wide_forward(x, kernel, stride, padding, dilation):
    return _wide(x, kernel, stride, padding, dilation), (x, kernel)


def _wide_backward(stride, padding, dilation, kept, grad):
    x, kernel = kept

    def by_convolution(x, grad):
        of_kernel = jax.linear_transpose(
            lambda kernel: _direct(x, kernel, stride, padding, dilation), kernel
        )
        return of_kernel(grad)[0]

    def by_products(x, grad):
        side, (n, h, w, out) = kernel.shape[0], grad.shape
        padded = jnp.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
        grad = grad.reshape(n * h * w, out)
        rows, columns = (stride * (size - 1) + 1 for size in (h, w))
        products = []
        for i in range(0, side * dilation, dilation):
            for j in range(0, side * dilation, dilation):
                seen = padded[:, i : i + rows : stride, j : j + columns : stride]  # [N, h, w, in]
                products.append(jnp.dot(seen.reshape(n * h * w, -1).T, grad))  # [in, out]
        return jnp.stack(products).reshape(kernel.shape)

    of_image = jax.linear_transpose(lambda x: _direct(x, kernel, stride, padding, dilation), x)
    of_kernel = jax.lax.platform_dependent(x, grad, cpu=by_products, default=by_convolution)
    return of_image(grad)[0], of_kernel


_wide.defvjp(_wide_forward, _wide_backward)
