"""Forward and backward pass of a network, and a whole AdaptSegNet step, against programs in torch
that do the same from the same weights (torch_networks.py).

Random weights, float32. The classifier is ResNet-50, the segmenter DeepLab-v2 ResNet-101 with one
head. A step is of one source and one target image, single level, SGD and Adam.
"""

import functools
import multiprocessing

import numpy as np

from benchmarks.cases import Case, largest_difference
from benchmarks.race import Prepared, jax_compiled, planned_mib, prepared_torch, torch_device

TITLE = "ResNet-50, DeepLab-v2 ResNet-101, and an AdaptSegNet step, against torch"
MINUTES = 3.5
NEEDS = ("ml_collections",)

CLASSES = 19
VOID = 255
RESNET50, RESNET101, QUICK_BLOCKS = (3, 4, 6, 3), (3, 4, 23, 3), (1, 1, 1, 1)
# the lesser of two sizes of AdaptSegNet's frames that a CPU can be asked for (ours)
FRAME_HW, QUICK_HW = (257, 513), (65, 97)
PHOTOS, PHOTO_SIDE, QUICK_SIDE = 8, 224, 64  # a quarter of CAN's batch; ImageNet's size
# Relative to the largest entry.
LOSS_TOLERANCE = 1e-4  # of the same weights: float32 in both
# The first layer's gradient has gone back through a hundred normalisations and ReLUs of random
# weights, which multiply rounding: 5e-2 was found at 257x513, though each normalisation of dajax
# and its gradient are within 3e-7 of float64.
GRADIENT_TOLERANCE = 1e-1


def cases(folder, is_quick):
    """See groups.py."""
    side, frame_hw = (QUICK_SIDE, QUICK_HW) if is_quick else (PHOTO_SIDE, FRAME_HW)
    photos = 2 if is_quick else PHOTOS
    classifier = dict(kind="classifier", blocks=QUICK_BLOCKS if is_quick else RESNET50)
    segmenter = dict(kind="segmenter", blocks=QUICK_BLOCKS if is_quick else RESNET101)
    found = []
    for title, network, shape in (
        (f"ResNet-50, {photos} x {side}x{side}", classifier, (photos, side, side)),
        (f"DeepLab-v2 ResNet-101, {frame_hw[0]}x{frame_hw[1]}", segmenter, (1, *frame_hw)),
    ):
        settings = network | dict(weights=weights_file(folder, **network), shape=shape)
        contenders = {"torch": torch_passes, "dajax": dajax_passes}
        found.append(
            Case(f"forward and backward, {title}", contenders, settings, agree=passes_agree)
        )
    return [*found, adaptsegnet_case(folder, frame_hw, segmenter)]


def passes_agree(ours, theirs):
    """An `agree`: the loss strictly, the gradient up to what the layers make of rounding."""
    (loss, is_equal), (gradient, is_near) = (
        largest_difference({key: ours[key]}, {key: theirs[key]}, tolerance=tolerance)
        for key, tolerance in (("loss", LOSS_TOLERANCE), ("first_grad", GRADIENT_TOLERANCE))
    )
    return f"loss {loss}, gradient {gradient}", is_equal and is_near


def adaptsegnet_case(folder, frame_hw, segmenter, **how):
    """The whole step."""
    settings = dict(
        weights=weights_file(folder, **segmenter), blocks=segmenter["blocks"], size_hw=frame_hw
    )
    return Case(
        f"AdaptSegNet step, {frame_hw[0]}x{frame_hw[1]}",
        {"torch": torch_step, "dajax": dajax_step},
        settings,
        agree=functools.partial(largest_difference, tolerance=LOSS_TOLERANCE),
        **how,
    )


def weights_file(folder, kind, blocks):
    """An .npz of a random network under torch's names; a process of its own makes it, so that this
    one holds no XLA.
    """
    path = folder / f"{kind}{sum(blocks)}.npz"
    if not path.exists():
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_write_weights, args=(str(path), kind, blocks))
        process.start()
        process.join()
    return str(path)


def _write_weights(path, kind, blocks):
    import jax
    import jax.numpy as jnp

    from dajax.models.apply import init_network
    from dajax.models.to_torch import to_torch

    model = build(kind, blocks)
    trees = init_network(jax.random.key(0), jnp.zeros((1, 65, 65, 3)), model=model)
    np.savez(path, **to_torch(*(tree[model.network] for tree in trees), norm_set=0))


def build(kind, blocks, dtype="float32"):
    """dajax's network of the comparison."""
    from ml_collections import ConfigDict

    from dajax.models.classifier import build_classifier
    from dajax.models.deeplab import build_segmenter
    from dajax.recipes.base import common, deeplab

    if kind == "classifier":
        config = common.base("benchmark").model
        config.backbone = "resnet50"
        model = build_classifier(config, CLASSES, 1)
    else:
        settings = deeplab.network("resnet101", "single", "", aspp_branches=2)
        model = build_segmenter(ConfigDict(settings | dict(dtype=dtype)), CLASSES, 1)
    return model.clone(backbone=model.backbone.clone(stage_sizes=blocks))


def read_weights(path, model):
    """({network: params}, {network: batch_stats}) of the file."""
    import jax
    import jax.numpy as jnp

    from dajax.models.apply import init_network
    from dajax.models.to_torch import from_own

    shapes = jax.eval_shape(
        lambda: init_network(jax.random.key(0), jnp.zeros((1, 65, 65, 3)), model=model)
    )
    with np.load(path) as arrays:
        trees = from_own(arrays, *(tree[model.network] for tree in shapes))
    return tuple({model.network: jax.device_put(tree)} for tree in trees)


def labelled_images(kind, shape, seed=0):
    """Images float32 [N, H, W, 3], and labels int32 [N], or [N, H, W] with some void."""
    rng = np.random.default_rng(seed)
    images = 50.0 * rng.standard_normal((*shape, 3), np.float32)  # 0 ... 255 minus a mean
    if kind == "classifier":
        return images / 50.0, rng.integers(0, CLASSES, shape[:1]).astype(np.int32)
    count, height, width = shape
    labels = rng.integers(0, CLASSES, (count, height // 16 + 1, width // 16 + 1))
    labels = labels.repeat(16, 1).repeat(16, 2)[:, :height, :width]
    labels[:, : height // 8] = VOID
    return images, labels.astype(np.int32)


def dajax_passes(kind, blocks, weights, shape):
    """Loss and gradients of all parameters."""
    import jax
    import jax.numpy as jnp

    from dajax.losses.classification import cross_entropy
    from dajax.losses.segmentation import cross_entropy_map, valid_pixels
    from dajax.models.apply import forward_train
    from dajax.ops.resize import resize_bilinear
    from dajax.parallel import masked_mean

    model = build(kind, blocks)
    params, batch_stats = read_weights(weights, model)
    images, labels = jax.device_put(labelled_images(kind, shape))
    mask = jnp.ones(len(images), bool)

    def loss(params, images, labels):
        part = {"image": images, "mask": mask}
        output, stats = forward_train(model, params, batch_stats, part, norm_set=0, axis_name=None)
        if kind == "classifier":
            return masked_mean(cross_entropy(output.logits, labels), mask), stats
        logits = resize_bilinear(output.logits, labels.shape[1:])
        return masked_mean(cross_entropy_map(logits, labels), valid_pixels(labels, mask)), stats

    def answer(out):
        (value, _), grads = out
        first = grads[model.network]["backbone"]["conv1"]["kernel"]
        return {"loss": value, "first_grad": np.asarray(first).transpose(3, 2, 0, 1)}

    def compiled():
        return jax_compiled(
            jax.value_and_grad(loss, has_aux=True), (params, images, labels), answer
        )

    return Prepared(compiled, jax.devices()[0])


def torch_passes(kind, blocks, weights, shape):
    """The same in torch."""
    import torch
    from torch.nn import functional

    from benchmarks import torch_networks

    device = torch_device()
    make = torch_networks.Classifier if kind == "classifier" else torch_networks.DeepLab
    with np.load(weights) as arrays:
        network = torch_networks.load(make(blocks, CLASSES), dict(arrays)).to(device)
    images, labels = labelled_images(kind, shape)
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
    labels = torch.from_numpy(labels.astype(np.int64)).to(device)

    def run():
        network.zero_grad()
        loss = functional.cross_entropy(network(images), labels, ignore_index=VOID)
        loss.backward()
        return {"loss": loss.item(), "first_grad": network.conv1.weight.grad.cpu().numpy()}

    return prepared_torch(run, device)


def adaptsegnet(blocks, weights, size_hw, dtype):
    """(compiled step, state, batch, key) of the paper's AdaptSegNet, in which every parameter is
    stepped once, as in torch_step; and the step before it is compiled.
    """
    import jax
    import jax.numpy as jnp

    from dajax.methods.segmentation import adaptsegnet as method
    from dajax.parallel import compile_train_step
    from dajax.recipes import adaptsegnet as recipe

    whole = recipe.get_config(
        "gta5_to_cityscapes,source_root=.,target_root=.,levels=single,settings=paper,weights=none"
    )
    config = whole.adaptsegnet
    config.target_hw = size_hw
    model = build("segmenter", blocks, dtype)
    params, batch_stats = read_weights(weights, model)
    state = jax.jit(
        lambda: method.init(
            jax.random.key(0), jnp.zeros((1, 65, 65, 3)), config=config, model=model
        )
    )()
    state = state.replace(params=state.params | params, batch_stats=state.batch_stats | batch_stats)
    source, label = labelled_images("segmenter", (1, *size_hw), 0)
    target, _ = labelled_images("segmenter", (1, *size_hw), 1)
    mask = np.ones(1, bool)
    batch = jax.device_put(
        {
            "source": {"image": source, "label": label, "mask": mask},
            "target": {"image": target, "mask": mask},
        }
    )
    step = compile_train_step(
        functools.partial(method.train_step, config=config, model=model), jax.devices()[:1]
    )
    return step, state, batch, jax.random.key(0)


def dajax_step(weights, blocks, size_hw, dtype="float32", steps=1):
    """So many AdaptSegNet steps, one after the other, without a look at the figures between.

    "flops": floating-point operations of them, as XLA counts them in the program before it is
    optimised; a convolution of a GPU's own library would count as none.
    """
    import jax

    step, state, batch, rng = adaptsegnet(blocks, weights, size_hw, dtype)

    def build_run():
        lowered, held = step.lower(state, batch, rng), [state]
        compiled, flops = lowered.compile(), steps * lowered.cost_analysis()["flops"]
        known = {"flops": flops} | planned_mib(compiled)

        def run():
            for _ in range(steps):
                held[0], metrics = compiled(held[0], batch, rng)
                known.setdefault("segmentation", metrics["segmentation"])  # of the first step
            jax.block_until_ready(held[0])
            return known

        return run

    return Prepared(build_run, jax.devices()[0])


def torch_step(
    weights, blocks, size_hw, dtype="float32", steps=1, channels_last=False, is_compiled=False
):
    """The same in torch; `is_compiled`: both networks by torch.compile."""
    import torch
    from torch.nn import functional

    from benchmarks import torch_networks

    device = torch_device()
    torch.backends.cudnn.benchmark = True  # on a GPU: the fastest of its convolutions, as XLA takes
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with np.load(weights) as arrays:
        network = torch_networks.load(torch_networks.DeepLab(blocks, CLASSES), dict(arrays))
    judge = torch_networks.discriminator(CLASSES).to(device, memory_format=layout)
    network.to(device, memory_format=layout)
    for module in network.modules():  # scale and bias are not trained
        if isinstance(module, torch.nn.BatchNorm2d):
            module.requires_grad_(False)
    heads, backbone = list(network.layer5.parameters()), []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and not name.startswith("layer5"):
            backbone.append(parameter)
    optimizer = torch.optim.SGD(
        [{"params": backbone}, {"params": heads, "lr": 2.5e-3}],
        lr=2.5e-4,
        momentum=0.9,
        weight_decay=5e-4,
    )
    judge_optimizer = torch.optim.Adam(judge.parameters(), lr=1e-4, betas=(0.9, 0.99))
    source, labels = labelled_images("segmenter", (1, *size_hw), 0)
    target, _ = labelled_images("segmenter", (1, *size_hw), 1)
    source, target = (
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device, memory_format=layout)
        for x in (source, target)
    )
    labels = torch.from_numpy(labels.astype(np.int64)).to(device)
    see = torch.compile(network) if is_compiled else network
    look = torch.compile(judge) if is_compiled else judge

    def judged(logits, label):
        out = look(torch.softmax(logits, 1))
        return functional.binary_cross_entropy_with_logits(out, torch.full_like(out, label))

    def step():
        optimizer.zero_grad()
        judge_optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            judge.requires_grad_(False)
            source_logits = see(source)
            loss = functional.cross_entropy(source_logits, labels, ignore_index=VOID)
            loss.backward()
            target_logits = see(target)
            (0.001 * judged(target_logits, 0.0)).backward()
            judge.requires_grad_(True)
            (0.5 * judged(source_logits.detach(), 0.0)).backward()
            (0.5 * judged(target_logits.detach(), 1.0)).backward()
        optimizer.step()
        judge_optimizer.step()
        return loss

    first = {}

    def run():
        for _ in range(steps):
            loss = step()
            if not first:
                first["segmentation"] = loss.item()  # later ones are not waited for
        if device.type == "cuda":
            torch.cuda.synchronize()
        return first

    return prepared_torch(run, device)
