"""The networks of the comparisons in torch, written anew for them: bottleneck ResNets as in
torchvision, DeepLab-v2 as in AdaptSegNet, the patch discriminator. Parameters have the names of
dajax.models.to_torch, so that both sides begin with the same weights.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """A residual block; `in_1x1`: the stride is in the first convolution (caffe)."""

    def __init__(self, channels, width, stride, dilation, in_1x1):
        super().__init__()
        first, second = (stride, 1) if in_1x1 else (1, stride)
        self.conv1 = nn.Conv2d(channels, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(y)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem and four stages of so many blocks; `is_dilated`: DeepLab's, of output stride 8."""

    def __init__(self, blocks, is_dilated):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=is_dilated)
        strides = (1, 2, 1, 1) if is_dilated else (1, 2, 2, 2)
        dilations = (1, 1, 2, 4) if is_dilated else (1, 1, 1, 1)
        channels = 64
        for i, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
            stage = []
            for j in range(count):
                stride = strides[i] if j == 0 else 1
                stage.append(Bottleneck(channels, width, stride, dilations[i], is_dilated))
                channels = 4 * width
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))

    def features(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Classifier(ResNet):
    """Mean features and a linear layer."""

    def __init__(self, blocks, num_classes):
        super().__init__(blocks, is_dilated=False)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class _Head(nn.Module):
    """Two of ASPP's four branches, summed, as the released code returns."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(2048, num_classes, 3, 1, rate, rate) for rate in (6, 12)
        )

    def forward(self, x):
        return sum(branch(x) for branch in self.conv2d_list)


class DeepLab(ResNet):
    """DeepLab-v2 with one head; logits at the size of the images."""

    def __init__(self, blocks, num_classes):
        super().__init__(blocks, is_dilated=True)
        self.layer5 = _Head(num_classes)

    def forward(self, x):
        return functional.interpolate(
            self.layer5(self.features(x)), x.shape[2:], mode="bilinear", align_corners=True
        )


def discriminator(num_classes):
    """AdaptSegNet's, over maps of class probabilities."""
    widths = (num_classes, 64, 128, 256, 512)
    layers = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 2, 1))


def load(network, arrays):
    """Pours {name: array} into a network; what the file has beyond it are branches not used."""
    missing = network.load_state_dict(
        {name: torch.from_numpy(array) for name, array in arrays.items()}, strict=False
    ).missing_keys
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"the weights lack {missing[0]}")
    return network
