"""Convolution and pooling with torch's padding, dropout and drop path, and the initialisers of
torchvision and CAN.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

# torchvision's ResNet: kaiming_normal_(mode="fan_out", nonlinearity="relu"), with standard
# deviation sqrt(2 / (out * kh * kw)).
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# CAN's linear head (model/model.py): kaiming_normal_, with standard deviation sqrt(2 / fan_in); its
# bias is 0.
head_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# torch.nn.Conv2d's and Linear's default: kaiming_uniform_(a=sqrt(5)), that is U(-b, b) with
# b = 1 / sqrt(fan_in); the bias has the same bound.
torch_init = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def torch_bias_init(fan_in):
    """The initialiser of a bias in torch.nn.Conv2d: U(-b, b) with b = 1 / sqrt(fan_in), where
    fan_in = in * kh * kw.
    """
    bound = fan_in**-0.5

    def init(rng, shape, dtype=jnp.float32):
        return jax.random.uniform(rng, shape, dtype, -bound, bound)

    return init


class Dropout(nn.Module):
    """torch.nn.Dropout: in training an entry is 0 with probability `rate`, else divided by 1 -
    rate.

    The dropped entries depend on the random stream "dropout", on this layer and on a row's number
    in the whole batch, so that several devices drop the same entries as one.
    """

    rate: float

    @nn.compact
    def __call__(self, x, mode):
        """float [N, D] -> float [N, D]. Training needs mode.rows and the stream "dropout"."""
        if not mode.is_random or not self.rate:
            return x
        return _dropped(x, self.make_rng("dropout"), self.rate, mode.rows, x.shape[1:])


class ChannelDropout(nn.Module):
    """torch.nn.Dropout2d: as Dropout, but a channel of an image is dropped as a whole."""

    rate: float

    @nn.compact
    def __call__(self, x, mode):
        """float [N, H, W, C] -> the same; see Dropout."""
        if not mode.is_random or not self.rate:
            return x
        return _dropped(x, self.make_rng("dropout"), self.rate, mode.rows, (1, 1, x.shape[-1]))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016; timm's DropPath): as Dropout, but the branch of an
    image is dropped as a whole.
    """

    rate: float

    @nn.compact
    def __call__(self, x, mode):
        """float [N, ...] -> the same; see Dropout."""
        if not mode.is_random or not self.rate:
            return x
        shape = (1,) * (x.ndim - 1)
        return _dropped(x, self.make_rng("dropout"), self.rate, mode.rows, shape)


def _dropped(x, rng, rate, rows, shape):
    """x [N, ...], 0 with probability `rate`, else divided by 1 - rate.

    Args:
      rows: int32 [N], see Mode.
      shape: of the draws of a row, which are broadcast over x's row.
    """

    def kept_in(row):
        return jax.random.bernoulli(jax.random.fold_in(rng, row), 1.0 - rate, shape)

    kept = jax.vmap(kept_in)(rows)  # [N, *shape]
    return jnp.where(kept, x / (1.0 - rate), jnp.zeros_like(x))


def run_block(block, x, mode, *, again):
    """block(x, mode); `again`: of all that it computes only x is kept, and the gradient computes
    the rest a second time.
    """

    def run(block, x):
        return block(x, mode)

    return (nn.remat(run) if again else run)(block, x)


class LayerNorm(nn.Module):
    """torch.nn.LayerNorm over the last axis; params `scale` and `bias` [C].

    It computes in float32, in two passes: E[x^2] - E[x]^2 cancels where the mean is large.
    """

    epsilon: float

    @nn.compact
    def __call__(self, x):
        """float [..., C] -> the same."""
        shape, ahead = (x.shape[-1],), (1,) * (x.ndim - 1) + (-1,)
        scale = self.param("scale", nn.initializers.ones_init(), shape).reshape(ahead)
        bias = self.param("bias", nn.initializers.zeros_init(), shape).reshape(ahead)
        y = x.astype(jnp.float32)
        y = y - y.mean(-1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.epsilon)
        return (y * inverse * scale + bias).astype(x.dtype)


class Linear(nn.Module):
    """torch.nn.Linear over the last axis; params `kernel` [in, out] and `bias` [out]."""

    features: int
    # timm's trunc_normal_(std=0.02), whose bounds of 2 are a hundred standard deviations away
    kernel_init: Callable = nn.initializers.normal(0.02)
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x):
        """float [..., in] -> [..., out]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,))
        y = jnp.dot(x, kernel.astype(x.dtype))
        return y + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Conv(nn.Module):
    """2-D convolution; params `kernel` [kh, kw, in, out] and, where asked for, `bias` [out].

    Attributes:
      features: output channels.
      kernel_size: kh = kw.
      stride, dilation: as in torch, the same for both axes.
      padding: zeros on each side of both axes.
      use_bias: add a bias.
      kernel_init, bias_init: initialisers of `kernel` and `bias`.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    use_bias: bool = False
    kernel_init: Callable = conv_init
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x):
        """float [N, H, W, in] -> [N, h, w, out], h = (H + 2 padding - dilation (kh - 1) - 1) //
        stride + 1.
        """
        kernel = self.param(
            "kernel",
            self.kernel_init,
            (self.kernel_size, self.kernel_size, x.shape[-1], self.features),
        )
        kernel = kernel.astype(x.dtype)
        if self.kernel_size == 1 and self.padding == 0:
            y = _pointwise(x, kernel, self.stride)
        elif self.kernel_size == self.stride and self.padding == 0 and self.dilation == 1:
            y = _of_patches(x, kernel)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(self.stride,) * 2,
                padding=((self.padding,) * 2,) * 2,
                rhs_dilation=(self.dilation,) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,)).astype(x.dtype)
            y = y + bias.reshape(1, 1, 1, -1)
        return y


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


@jax.custom_vjp
def relu(x):
    """max(x, 0), whose gradient reads the result alone: the next layer keeps it in any case, while
    the gradient of jax.nn.relu has its argument kept too.
    """
    return jnp.maximum(x, jnp.zeros((), x.dtype))


relu.defvjp(
    lambda x: (relu(x),) * 2, lambda y, grad: (jnp.where(y > 0, grad, jnp.zeros((), grad.dtype)),)
)


@jax.custom_vjp
def add_relu(x, y):
    """relu(x + y), the end of a residual block, in a form whose result XLA's CPU compiler stores.

    The compiler takes maximum(x + y, 0) for so cheap that every reader computes it again. The next
    block's sum is a reader, so each block of ResNet-101 would add up all earlier blocks of its
    stage: 0.8 s of 8.1 s for value and gradient, on one core, at 257x513.

    The gradient reads the result alone, as that of `relu`.
    """
    z = x + y
    return jnp.where(z <= 0, jnp.zeros((), z.dtype), z)  # with `z > 0` a NaN would become 0


def _add_relu_backward(sum_, grad):
    # a NaN lets its gradient through
    grad = jnp.where(sum_ == 0, jnp.zeros((), grad.dtype), grad)
    return grad, grad


add_relu.defvjp(lambda x, y: (add_relu(x, y),) * 2, _add_relu_backward)


class DepthwiseConv(nn.Module):
    """2-D convolution of each channel with a filter of its own, which keeps the size; params
    `kernel` [k, k, 1, C] and, where asked for, `bias` [C].

    Attributes:
      kernel_size: odd; the padding is dilation * (kernel_size // 2).
      dilation, use_bias, kernel_init: as in Conv.
    """

    kernel_size: int
    dilation: int = 1
    use_bias: bool = False
    kernel_init: Callable = conv_init

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, C] -> the same."""
        channels = x.shape[-1]
        shape = (self.kernel_size, self.kernel_size, 1, channels)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        y = depthwise(x, kernel, self.dilation)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (channels,)).astype(x.dtype)
            y = y + bias.reshape(1, 1, 1, -1)
        return y


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
    """[N, h, w, C] of each tap: what it has seen, times the gradient of the result."""
    h, w = grad.shape[1:3]
    return [
        padded[:, top : top + h, left : left + w].astype(jnp.float32) * grad
        for _, top in offsets
        for _, left in offsets
    ]


def _products_of_rows(padded, grad, offsets):
    """The same summed over the rows: [N, 1, w, C] of each tap.

    Row by row, since XLA's CPU compiler sums over all but the last axis an entry at a time: ten
    times slower.
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
    return jax.lax.optimization_barrier(jax.lax.fori_loop(0, h, add, zeros))


def _depthwise_backward(dilation, saved, grad):
    x, kernel = saved
    size = kernel.shape[0]
    products = _products_of_rows if jax.default_backend() == "cpu" else _products_of_map
    found = products(_padded(x, size, dilation), grad.astype(jnp.float32), _offsets(size, dilation))
    grad_kernel = jnp.stack([part.sum((0, 1, 2)) for part in found]).reshape(kernel.shape)
    return depthwise(grad, kernel[::-1, ::-1], dilation), grad_kernel.astype(kernel.dtype)


depthwise.defvjp(
    lambda x, kernel, dilation: (depthwise(x, kernel, dilation), (x, kernel)), _depthwise_backward
)


def max_pool(x, *, ceil_mode=False):
    """3x3 max-pooling, stride 2, padding 1.

    Args:
      x: float [N, H, W, C].
      ceil_mode: False, torchvision: h = (H - 1) // 2 + 1. True, caffe and DeepLab-v2: h = ceil((H -
        1) / 2) + 1, one more where H is even.

    Returns:
      float [N, h, w, C].
    """

    def pads(size):
        out = (-(-(size - 1) // 2) if ceil_mode else (size - 1) // 2) + 1
        return 1, (out - 1) * 2 + 3 - size - 1  # before, after

    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=(pads(x.shape[1]), pads(x.shape[2])))
