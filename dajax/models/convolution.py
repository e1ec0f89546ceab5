"""2-D convolution, in the forms that XLA's compilers are fast at, on CPUs and on GPUs."""

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
    if kernel.shape[:2] == (stride, stride) and padding == 0 and dilation == 1:
        return _of_patches(x, kernel)
    if min(kernel.shape[2:]) >= WIDE or dilation > 1:
        return _by_platform(x, kernel, stride, padding, dilation)
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


def _of_patches(x, kernel):
    """A convolution whose windows touch and do not overlap, as a matrix product of the windows; its
    gradient is one too, where XLA would convolve a map with zeros between its pixels.
    """
    side, (n, h, w, channels) = kernel.shape[0], x.shape
    rows, columns = h // side, w // side
    x = x[:, : rows * side, : columns * side]
    windows = x.reshape(n, rows, side, columns, side, channels).swapaxes(2, 3)
    windows = windows.reshape(n, rows, columns, -1)  # [N, h, w, side * side * C]
    return jnp.dot(windows, kernel.reshape(side * side * channels, -1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _by_platform(x, kernel, stride, padding, dilation):
    """`_direct`, whose gradient of the kernel has the form that is fast on the platform: on a CPU a
    matrix product for each place of a wide kernel, on NVIDIA's GPUs one product for a dilated one.
    """
    return _direct(x, kernel, stride, padding, dilation)


def _by_platform_forward(x, kernel, stride, padding, dilation):
    return _by_platform(x, kernel, stride, padding, dilation), (x, kernel)


def _by_platform_backward(stride, padding, dilation, kept, grad):
    x, kernel = kept
    shape, settings = kernel.shape, dict(stride=stride, padding=padding, dilation=dilation)

    def by_convolution(x, grad):
        of_kernel = jax.linear_transpose(lambda kernel: _direct(x, kernel, **settings), kernel)
        return of_kernel(grad)[0]

    is_wide, is_dilated = min(shape[2:]) >= WIDE, dilation > 1
    by_products = functools.partial(_products, shape=shape, **settings)
    by_one_product = functools.partial(_one_product, shape=shape, **settings)
    of_image = jax.linear_transpose(lambda x: _direct(x, kernel, **settings), x)
    of_kernel = jax.lax.platform_dependent(
        x,
        grad,
        cpu=by_products if is_wide else by_convolution,
        cuda=by_one_product if is_dilated else by_convolution,
        default=by_convolution,
    )
    return of_image(grad)[0], of_kernel


_by_platform.defvjp(_by_platform_forward, _by_platform_backward)


def _windows(x, shape, grad_hw, stride, padding, dilation):
    """What each place of a kernel has seen: a list of [N, h, w, in], row by row of the kernel."""
    padded = jnp.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    rows, columns = (stride * (size - 1) + 1 for size in grad_hw)
    return [
        padded[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(0, shape[0] * dilation, dilation)
        for j in range(0, shape[1] * dilation, dilation)
    ]


def _products(x, grad, *, shape, **settings):
    """The gradient of a kernel [kh, kw, in, out], a matrix product for each of its places."""
    flat = grad.reshape(-1, shape[3])  # [N * h * w, out]
    windows = _windows(x, shape, grad.shape[1:3], **settings)
    products = [jnp.dot(seen.reshape(flat.shape[0], -1).T, flat) for seen in windows]
    return jnp.stack(products).reshape(shape)


def _one_product(x, grad, *, shape, stride, padding, dilation):
    """The same as one product with the windows side by side.

    XLA finds cuDNN's gradient of a kernel only where it is not dilated. The gradient of a dilated
    one stays a convolution whose kernel is as large as the map: one channel in, the batch's rows.

    Of map and gradient the narrower one is copied for each place; the gradient only where its place
    is that of a pixel.
    """
    # zeros around the gradient from which all places see a map as large as the image's
    around = dilation * (shape[0] - 1) - padding
    if stride > 1 or around < 0 or shape[2] <= shape[3]:
        windows = _windows(x, shape, grad.shape[1:3], stride, padding, dilation)
        seen = jnp.stack(windows, 3).reshape(-1, shape[0] * shape[1] * shape[2])
        return jnp.dot(seen.T, grad.reshape(-1, shape[3])).reshape(shape)
    # the place (i, j) has met the pixel p by the gradient at p + padding - dilation * (i, j): the
    # same windows of the gradient, from the last place to the first
    windows = _windows(grad, shape, x.shape[1:3], 1, around, dilation)[::-1]
    met = jnp.stack(windows, 3).reshape(-1, shape[0] * shape[1] * shape[3])
    product = jnp.dot(x.reshape(-1, shape[2]).T, met)  # [in, kh * kw * out]
    return product.reshape(shape[2], *shape[:2], shape[3]).transpose(1, 2, 0, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x, kernel, dilation):
    """The depthwise convolution as a sum of shifted maps, each times a number a channel.

    XLA runs it as one loop over the map. Of [2, 64, 64, 256], on two busy cores, the value takes 3
    ms and the gradients 12 ms; XLA's own grouped convolution takes 85 ms and 1,250 ms.

    Args:
      x: float [N, h, w, C].
      kernel: [k, k, 1, C] of x's dtype, k odd.
      dilation: distance of two taps.

    Returns:
      [N, h, w, C] of x's dtype, summed in float32.
    """
    taps = kernel.astype(jnp.float32)[:, :, None, None]  # [k, k, 1, 1, 1, C]
    padded, (h, w) = _padded(x, kernel.shape[0], dilation), x.shape[1:3]
    parts = (
        padded[:, top : top + h, left : left + w].astype(jnp.float32) * taps[i, j]
        for i, top in _offsets(kernel.shape[0], dilation)
        for j, left in _offsets(kernel.shape[0], dilation)
    )
    return sum(parts).astype(x.dtype)


def _padded(x, size, dilation):
    """x [N, h, w, C] with the zeros that taps see beyond its border."""
    reach = dilation * (size // 2)
    return jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))


def _offsets(size, dilation):
    """(number, first row or column of the padded map) of every tap along one side."""
    return [(i, i * dilation) for i in range(size)]


def _products_of_map(padded, grad, offsets):
    """[C] of each tap: what it has seen, times the gradient of the result, summed."""
    h, w = grad.shape[1:3]
    return [
        (padded[:, top : top + h, left : left + w].astype(jnp.float32) * grad).sum((0, 1, 2))
        for _, top in offsets
        for _, left in offsets
    ]


def _products_of_rows(padded, grad, offsets):
    """The same, row by row: XLA's CPU compiler sums over all but the last axis an entry at a time,
    ten times slower.
    """
    n, h, w, channels = grad.shape
    width = padded.shape[2]

    def add(row, sums):
        own = jax.lax.dynamic_slice(grad, (0, row, 0, 0), (n, 1, w, channels))
        parts = []
        for _, top in offsets:
            start, shape = (0, row + top, 0, 0), (n, 1, width, channels)
            seen = jax.lax.dynamic_slice(padded, start, shape).astype(jnp.float32)
            parts += [seen[:, :, left : left + w] * own for _, left in offsets]
        return [total + part for total, part in zip(sums, parts, strict=True)]

    zeros = [jnp.zeros((n, 1, w, channels)) for _ in range(len(offsets) ** 2)]
    rows = jax.lax.optimization_barrier(jax.lax.fori_loop(0, h, add, zeros))
    return [row.sum((0, 1, 2)) for row in rows]


def _depthwise_backward(dilation, saved, grad):
    x, kernel = saved
    size = kernel.shape[0]
    offsets = _offsets(size, dilation)
    found = jax.lax.platform_dependent(
        _padded(x, size, dilation),
        grad.astype(jnp.float32),
        cpu=functools.partial(_products_of_rows, offsets=offsets),
        default=functools.partial(_products_of_map, offsets=offsets),
    )
    grad_kernel = jnp.stack(found).reshape(kernel.shape)
    return depthwise(grad, kernel[::-1, ::-1], dilation), grad_kernel.astype(kernel.dtype)


depthwise.defvjp(
    lambda x, kernel, dilation: (depthwise(x, kernel, dilation), (x, kernel)), _depthwise_backward
)
