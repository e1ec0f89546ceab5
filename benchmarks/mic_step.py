"""A whole MIC step on a MiT, against a program in torch that does the same from the same weights.

The passes of a step of DAFormer with MIC's masks, on 2 source and 2 target images: the teacher
labels the target images; the student learns from the source, with the feature distance to the
frozen encoder, from mixed and from masked images; AdamW; the teacher follows. What is random and
cheap is left out of both: colour jitter, blur, dropout and drop path. Which classes are pasted and
which blocks are hidden both draw for themselves, so of the losses those of the source are compared.
"""

import functools

import numpy as np

from benchmarks import network_setup as setup
from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import prepared_jax_steps, prepared_torch_steps, torch_device

TITLE = "a MIC step on MiT-b2 at 256x256, against torch"
MINUTES = 3
NEEDS = ("ml_collections",)

SIDE, QUICK_SIDE = 256, 64
BACKBONE, QUICK_BACKBONE = "mit_b2", "mit_b0"


def cases(folder, is_quick):
    """See groups.py."""
    backbone, side = (QUICK_BACKBONE, QUICK_SIDE) if is_quick else (BACKBONE, SIDE)
    settings = dict(
        weights=setup.weights_file(folder, kind="mit", blocks=backbone),
        backbone=backbone,
        side=side,
    )
    return [
        Case(
            f"MIC step, {backbone}, 2 + 2 images of {side}x{side}",
            {"torch": torch_step, "dajax": dajax_step},
            settings,
            agree=functools.partial(largest_difference, tolerance=setup.LOSS_TOLERANCE),
        )
    ]


def stage_of(side, *, is_masked=True):
    """MIC's settings on DAFormer, or DAFormer's own, without what the comparison leaves out."""
    from dajax.recipes import daformer, mic

    argument = "gta5_to_cityscapes,source_root=.,target_root=.,weights=none"
    config = (
        mic.get_config(f"{argument},host=daformer").mic
        if is_masked
        else daformer.get_config(argument).daformer
    )
    config.color_jitter.probability = config.blur.probability = 0.0
    # the rows of a crop of 512 that do not count, of this one
    config.ignore_top, config.ignore_bottom = (
        rows * side // 512 for rows in (config.ignore_top, config.ignore_bottom)
    )
    return config


def frames(side):
    """(source images, their labels, target images): float32 [2, side, side, 3], int32."""
    source, labels = setup.labelled_images("segmenter", (2, side, side), 0)
    target, _ = setup.labelled_images("segmenter", (2, side, side), 1)
    return source / 50.0, labels, target / 50.0  # of deviation 1, as ImageNet's figures give them


def dajax_step(weights, backbone, side, dtype="float32", steps=1, is_masked=True):
    """So many steps, the optimiser and the teacher included, without a look at the figures
    between. `is_masked`: with MIC's pass.
    """
    import jax
    import jax.numpy as jnp

    from dajax.engine import teacher
    from dajax.methods.segmentation import cross_domain_mixing as method
    from dajax.parallel import compile_train_step

    config, model = stage_of(side, is_masked=is_masked), setup.build("mit", backbone, dtype)

    def initial():
        return method.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), config=config, model=model)

    state = setup.state_with(initial, *setup.read_weights(weights, model))
    state = teacher.begin(state, config)
    state = method.at_start(state, config=config, model=model)
    source, labels, target = frames(side)
    mask = np.ones(len(source), bool)
    batch = jax.device_put(
        {
            "source": {"image": source, "label": labels, "mask": mask},
            "target": {"image": target, "mask": mask},
        }
    )
    step = compile_train_step(
        functools.partial(method.train_step, config=config, model=model), jax.devices()[:1]
    )
    rng = jax.random.key(0)
    return prepared_jax_steps(step, steps, state, batch, rng)


def torch_step(
    weights,
    backbone,
    side,
    dtype="float32",
    steps=1,
    is_masked=True,
    channels_last=False,
    is_compiled=False,
):
    """The same in torch; `is_compiled`: the student and the teacher by torch.compile."""
    import torch
    from torch.nn import functional

    from benchmarks import torch_mit, torch_networks
    from dajax.recipes.base.mit import CHANNELS

    config, device = stage_of(side, is_masked=is_masked), torch_device()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.backends.cudnn.benchmark = True

    def network():
        with np.load(weights) as arrays:
            fresh = torch_mit.DAFormer(backbone, CHANNELS["daformer"], setup.CLASSES)
            return torch_networks.load(fresh, dict(arrays)).to(device, memory_format=layout)

    student, teacher, frozen = network(), network(), network().requires_grad_(False)
    teacher.requires_grad_(False)
    see, label = (torch.compile(x) if is_compiled else x for x in (student, teacher))
    optimizer = torch.optim.AdamW(_groups(student, config.optimizer), betas=(0.9, 0.999))
    source, labels, target = frames(side)
    source, target = (
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device, memory_format=layout)
        for x in (source, target)
    )
    labels = torch.from_numpy(labels.astype(np.int64)).to(device)
    rows, block = side - config.ignore_bottom, config.masked.block

    def label_target():
        with torch.no_grad():
            confidence, labels = torch.softmax(label(target)[0].float(), 1).max(1)
            weights = torch.zeros_like(confidence)
            weights[:, config.ignore_top : rows] = (confidence > config.threshold).float().mean()
        return labels, weights

    def passes():
        pseudo, weights = label_target()
        logits, features = see(source)
        loss = _cross_entropy(logits, labels, 1.0)
        with torch.no_grad():
            before = frozen.stages(source)[-1]
        distance = _thing_distance(features, before, labels, config.feature_distance)
        (loss + config.feature_distance.weight * distance).backward()
        pasted = _half_of_the_classes(labels)
        mixed = torch.where(pasted[:, None], source, target)
        mixed_labels, one = torch.where(pasted, labels, pseudo), torch.ones_like(weights)
        _cross_entropy(see(mixed)[0], mixed_labels, torch.where(pasted, one, weights)).backward()
        if is_masked:
            shape = len(target), 1, side // block, side // block
            stays = (torch.rand(shape, device=device) > config.masked.ratio).float()
            stays = functional.interpolate(stays, scale_factor=block)
            _cross_entropy(see(target * stays)[0], pseudo, weights).backward()
        return loss

    def step():
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = passes()
        optimizer.step()
        with torch.no_grad():
            for average, value in zip(teacher.parameters(), student.parameters(), strict=True):
                average.lerp_(value, 1.0 - config.teacher.momentum)
        return loss

    return prepared_torch_steps(step, steps, device)


def _cross_entropy(logits, labels, weights):
    """The mean of weighted losses in torch; weights: of each pixel, or a number."""
    from torch.nn import functional

    losses = functional.cross_entropy(logits, labels, ignore_index=setup.VOID, reduction="none")
    return (weights * losses).mean()


def _thing_distance(features, before, labels, settings):
    """DAFormer's feature distance in torch, without its weight: of the cells that show a thing.

    Args:
      features, before: [N, C, h, w], of the student and of the frozen encoder.
      labels: int64 [N, H, W].
      settings: config.STAGE.feature_distance.
    """
    import torch
    from torch.nn import functional

    with torch.no_grad():
        one_hot = functional.one_hot(
            labels.where(labels != setup.VOID, setup.CLASSES), setup.CLASSES + 1
        )
        scale = labels.shape[-1] // features.shape[-1]
        shares = functional.avg_pool2d(one_hot.permute(0, 3, 1, 2).float(), scale)
        share, cell = shares.max(1)
        things = torch.tensor(settings.classes, device=labels.device)
        counted = torch.isin(cell, things) & (share >= settings.min_share)
    return (features - before).float().norm(dim=1)[counted].mean() if counted.any() else 0.0


def _half_of_the_classes(labels):
    """bool like labels [N, H, W], in torch: pixels of half of the batch's classes, drawn for each
    image.
    """
    import torch

    present = labels[labels != setup.VOID].unique()
    chosen = [present[torch.randperm(len(present))[: len(present) // 2]] for _ in labels]
    return torch.stack([torch.isin(one, some) for one, some in zip(labels, chosen, strict=True)])


def _groups(network, settings):
    """AdamW's groups: ten times the rate for the decoder, no decay for normalisation."""
    groups = {}
    for name, parameter in network.named_parameters():
        groups.setdefault(("decode_head" in name, "norm" in name), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * (10.0 if is_head else 1.0),
            "weight_decay": 0.0 if is_norm else settings.weight_decay,
        }
        for (is_head, is_norm), parameters in groups.items()
    ]
