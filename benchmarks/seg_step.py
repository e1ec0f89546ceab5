"""One AdaptSegNet training step on DeepLab-v2 ResNet-101, against an equivalent program in torch.

    python benchmarks/seg_step.py [--height 257] [--width 513] [--repeats 3] [--dtype float32] [--quick]

One source and one target image, single level, SGD and Adam, random weights: the same work in both.
Each contender runs in a process of its own, repeats interleaved; memory is the process's peak
beyond its data (a step's activations are freed and taken again, so it counts the largest). Without
torch the line for it is left out: `pip install torch`.
"""

import argparse
import importlib.util
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.harness import Prepared, markdown_table, race, table_row

CLASSES = 19
STAGES = (3, 4, 23, 3)  # ResNet-101
QUICK_STAGES = (1, 1, 1, 1)


def images_and_labels(height, width):
    """Source image and label, target image: float32 [1, H, W, 3], int32 [1, H, W], some of it
    ignored.
    """
    rng = np.random.default_rng(0)
    source, target = (
        50.0 * rng.standard_normal((1, height, width, 3)).astype(np.float32) for _ in range(2)
    )
    labels = (
        rng.integers(0, CLASSES, (1, height // 16 + 1, width // 16 + 1))
        .repeat(16, 1)
        .repeat(16, 2)[:, :height, :width]
    )
    labels[:, : height // 8] = 255
    return source, labels.astype(np.int32), target


def dajax_step(height, width, stages, dtype):
    import jax
    import jax.numpy as jnp
    from ml_collections import ConfigDict

    from dajax.methods.segmentation import adaptsegnet
    from dajax.models.deeplab import build_segmenter
    from dajax.recipes import adaptsegnet as recipe
    from dajax.recipes.base import segmentation as seg_base

    config = recipe.authors(settings="paper")  # every parameter stepped once, as torch's here
    config.target_hw = (height, width)
    settings = ConfigDict(seg_base.deeplab("resnet101", "single", "") | dict(dtype=dtype))
    model = build_segmenter(settings, CLASSES, 1)
    if stages != STAGES:
        model = model.clone(backbone=model.backbone.clone(stage_sizes=stages))
    source, labels, target = images_and_labels(height, width)
    mask = np.ones(1, bool)
    batch = jax.device_put(
        {
            "source": {"image": source, "label": labels, "mask": mask},
            "target": {"image": target, "mask": mask},
        }
    )
    rng = jax.random.key(0)
    state = adaptsegnet.init(rng, jnp.zeros((1, 65, 65, 3)), config=config, model=model)

    def step(state, batch, rng, axis_name):
        return adaptsegnet.train_step(
            state, batch, rng, config=config, model=model, axis_name=axis_name
        )

    def build():
        compiled = (
            jax.jit(lambda state, batch, rng: step(state, batch, rng, None), donate_argnums=0)
            .lower(state, batch, rng)
            .compile()
        )
        held = [state]

        def run():
            held[0], metrics = jax.block_until_ready(compiled(held[0], batch, rng))
            return {"segmentation": metrics["segmentation"]}

        return run

    return Prepared(build, jax.devices()[0])


def torch_networks(stages):
    """DeepLab-v2 (caffe topology, two ASPP branches summed) and the patch discriminator, written
    anew for this comparison.
    """
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, channels, width, stride, dilation, shortcut):
            super().__init__()
            self.reduce, self.bn1 = (
                nn.Conv2d(channels, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )
            self.spatial, self.bn2 = (
                nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False),
                nn.BatchNorm2d(width),
            )
            self.expand, self.bn3 = (
                nn.Conv2d(width, 4 * width, 1, bias=False),
                nn.BatchNorm2d(4 * width),
            )
            project = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )
            self.shortcut = project if shortcut else nn.Identity()

        def forward(self, x):
            y = torch.relu(self.bn1(self.reduce(x)))
            y = self.bn3(self.expand(torch.relu(self.bn2(self.spatial(y)))))
            return torch.relu(y + self.shortcut(x))

    class DeepLab(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [
                nn.Conv2d(3, 64, 7, 2, 3, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            ]
            channels = 64
            for size, width, stride, dilation in zip(
                stages, (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4)
            ):
                for i in range(size):
                    layers.append(
                        Bottleneck(channels, width, stride if i == 0 else 1, dilation, i == 0)
                    )
                    channels = 4 * width
            self.backbone = nn.Sequential(*layers)
            self.heads = nn.ModuleList(
                nn.Conv2d(channels, CLASSES, 3, 1, rate, rate) for rate in (6, 12)
            )

        def forward(self, x):
            features = self.backbone(x)
            logits = sum(head(features) for head in self.heads)
            return nn.functional.interpolate(
                logits, x.shape[2:], mode="bilinear", align_corners=True
            )

    widths = (CLASSES, 64, 128, 256, 512)
    blocks = [
        block
        for a, b in zip(widths, widths[1:])
        for block in (nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2))
    ]
    network, discriminator = DeepLab(), nn.Sequential(*blocks, nn.Conv2d(512, 1, 4, 2, 1))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
            module.bias.requires_grad_(False)
    return network, discriminator


def torch_step(height, width, stages, dtype):
    import torch
    from torch.nn import functional

    network, discriminator = torch_networks(stages)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device), discriminator.to(device)
    source, labels, target = images_and_labels(height, width)
    source, target = (
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device) for x in (source, target)
    )
    labels = torch.from_numpy(labels.astype(np.int64)).to(device)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def judge(logits, label):
        out = discriminator(torch.softmax(logits, 1))
        return functional.binary_cross_entropy_with_logits(out, torch.full_like(out, label))

    def run():
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            optimizer.zero_grad()
            optimizer_d.zero_grad()
            discriminator.requires_grad_(False)
            source_logits = network(source)
            loss = functional.cross_entropy(source_logits, labels, ignore_index=255)
            loss.backward()
            target_logits = network(target)
            (0.001 * judge(target_logits, 0.0)).backward()
            discriminator.requires_grad_(True)
            (0.5 * judge(source_logits.detach(), 0.0)).backward()
            (0.5 * judge(target_logits.detach(), 1.0)).backward()
            optimizer.step()
            optimizer_d.step()
        return {"segmentation": loss.item()}

    return Prepared(lambda: run)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=257)
    parser.add_argument("--width", type=int, default=513)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of the convolutions"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="four blocks on 65x97: does everything run? The times mean nothing",
    )
    args = parser.parse_args()
    settings = dict(height=args.height, width=args.width, stages=STAGES, dtype=args.dtype)
    if args.quick:
        settings.update(height=65, width=97, stages=QUICK_STAGES)
    contenders = {"dajax": dajax_step}
    if importlib.util.find_spec("torch"):
        contenders["torch"] = torch_step
    results = race(contenders, settings, repeats=args.repeats, calls=1)
    ours = results["dajax"]
    case = f"{settings['height']}x{settings['width']}, {args.dtype}"
    rows = [
        table_row(case, name, result, ours, f"loss {float(result.answer['segmentation']):.3g}")
        for name, result in results.items()
    ]
    print(
        f"dajax on {ours.device}; {os.cpu_count()} CPU cores; median of {args.repeats} interleaved"
        " repeats; loss: of the last step\n"
    )
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
