"""MiT with DAFormer's decoder in torch, written anew for the comparison: a mix transformer as in
dajax/models/mit.py, the head of dajax/models/daformer_head.py. Parameters have the names of
dajax.models.to_torch, so that both sides begin with the same weights.

Attention is torch's own scaled_dot_product_attention, its fastest. There is no drop path and no
dropout: what is dropped at random would differ.
"""

import torch
from torch import nn
from torch.nn import functional

from dajax.models.mit import EXPANSION, HEADS, REDUCTIONS, VARIANTS

RATES = (1, 6, 12, 18)


def _to_rows(x):
    return x.flatten(2).transpose(1, 2)


def _to_map(x, size_hw):
    return x.transpose(1, 2).unflatten(2, size_hw)


class Attention(nn.Module):
    """To a grid that a strided convolution has coarsened."""

    def __init__(self, channels, heads, reduction):
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        if reduction > 1:
            self.sr = nn.Conv2d(channels, channels, reduction, reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, x, size_hw):
        n, count, channels = x.shape
        queries, looked_at = self.q(x), x
        if self.reduction > 1:
            looked_at = self.norm(_to_rows(self.sr(_to_map(x, size_hw))))
        both = self.kv(looked_at).view(n, -1, 2, self.heads, channels // self.heads)
        keys, values = both.permute(2, 0, 3, 1, 4)
        queries = queries.view(n, count, self.heads, -1).transpose(1, 2)
        seen = functional.scaled_dot_product_attention(queries, keys, values)
        return self.proj(seen.transpose(1, 2).reshape(n, count, channels))


class DepthwiseLayer(nn.Module):
    """The convolution inside the perceptron."""

    def __init__(self, channels):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)

    def forward(self, x, size_hw):
        return _to_rows(self.dwconv(_to_map(x, size_hw)))


class Perceptron(nn.Module):
    """Two layers with a depthwise convolution between them."""

    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Linear(channels, EXPANSION * channels)
        self.dwconv = DepthwiseLayer(EXPANSION * channels)
        self.fc2 = nn.Linear(EXPANSION * channels, channels)

    def forward(self, x, size_hw):
        return self.fc2(functional.gelu(self.dwconv(self.fc1(x), size_hw)))


class Block(nn.Module):
    """Attention and perceptron."""

    def __init__(self, channels, heads, reduction):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Perceptron(channels)

    def forward(self, x, size_hw):
        x = x + self.attn(self.norm1(x), size_hw)
        return x + self.mlp(self.norm2(x), size_hw)


class PatchEmbed(nn.Module):
    """Overlapping patches."""

    def __init__(self, channels, features, kernel_size, stride):
        super().__init__()
        self.proj = nn.Conv2d(channels, features, kernel_size, stride, kernel_size // 2)
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        x = self.proj(x)
        return self.norm(_to_rows(x)), x.shape[2:]


class ConvModule(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels, features, kernel_size, dilation=1, groups=1):
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            channels, features, kernel_size, 1, padding, dilation, groups, bias=False
        )
        self.bn = nn.BatchNorm2d(features)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Separable(nn.Module):
    """A depthwise and a pointwise convolution."""

    def __init__(self, channels, features, dilation):
        super().__init__()
        self.depthwise_conv = ConvModule(channels, channels, 3, dilation, groups=channels)
        self.pointwise_conv = ConvModule(channels, features, 1)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class SeparableASPP(nn.Module):
    """DAFormer's fusion."""

    def __init__(self, channels, features):
        super().__init__()
        branches = [Separable(channels, features, rate) for rate in RATES[1:]]
        self.aspp_modules = nn.ModuleList([ConvModule(channels, features, 1), *branches])
        self.bottleneck = ConvModule(len(RATES) * features, features, 3)

    def forward(self, x):
        return self.bottleneck(torch.cat([branch(x) for branch in self.aspp_modules], 1))


class Embedding(nn.Module):
    """A linear layer at every position."""

    def __init__(self, channels, features):
        super().__init__()
        self.proj = nn.Linear(channels, features)

    def forward(self, x):
        return _to_map(self.proj(_to_rows(x)), x.shape[2:])


class Decoder(nn.Module):
    """DAFormer's head."""

    def __init__(self, widths, features, num_classes):
        super().__init__()
        self.embed_layers = nn.ModuleList(Embedding(width, features) for width in widths)
        self.fuse_layer = SeparableASPP(len(widths) * features, features)
        self.conv_seg = nn.Conv2d(features, num_classes, 1)

    def forward(self, stages):
        size_hw = stages[0].shape[2:]
        maps = [
            functional.interpolate(embed(x), size_hw, mode="bilinear", align_corners=False)
            for embed, x in zip(self.embed_layers, stages, strict=True)
        ]
        return self.conv_seg(self.fuse_layer(torch.cat(maps, 1)))


class DAFormer(nn.Module):
    """Encoder and decoder; logits at the size of the images, and the last stage's features."""

    def __init__(self, name, features, num_classes):
        super().__init__()
        widths, depths = VARIANTS[name]
        channels = 3
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            kernel_size, stride = (7, 4) if i == 0 else (3, 2)
            blocks = nn.ModuleList(Block(width, HEADS[i], REDUCTIONS[i]) for _ in range(depth))
            patches = PatchEmbed(channels, width, kernel_size, stride)
            setattr(self, f"patch_embed{i + 1}", patches)
            setattr(self, f"block{i + 1}", blocks)
            setattr(self, f"norm{i + 1}", nn.LayerNorm(width, eps=1e-6))
            channels = width
        self.decode_head = Decoder(widths, features, num_classes)

    def stages(self, x):
        """Feature maps, finest first."""
        found = []
        for i in range(1, 5):
            x, size_hw = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"block{i}"):
                x = block(x, size_hw)
            x = _to_map(getattr(self, f"norm{i}")(x), size_hw)
            found.append(x)
        return found

    def forward(self, x):
        stages = self.stages(x)
        logits = functional.interpolate(
            self.decode_head(stages), x.shape[2:], mode="bilinear", align_corners=False
        )
        return logits, stages[-1]
