"""Forward and backward pass of a network, and a whole AdaptSegNet step, against programs in torch
that do the same from the same weights (torch_networks.py).

Random weights, float32. The classifier is ResNet-50, the segmenter DeepLab-v2 ResNet-101 with one
head. The step: adaptsegnet_step.py.
"""

import numpy as np

from benchmarks import adaptsegnet_step
from benchmarks import network_setup as setup
from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import jax_compiled, prepared_torch, torch_device
from benchmarks.race import Prepared

TITLE = "ResNet-50, DeepLab-v2 ResNet-101, and an AdaptSegNet step, against torch"
MINUTES = 3.5
NEEDS = ("ml_collections",)

# the lesser of two sizes of AdaptSegNet's frames that a CPU can be asked for (ours)
FRAME_HW, QUICK_HW = (257, 513), (65, 97)
PHOTOS, PHOTO_SIDE, QUICK_SIDE = 8, 224, 64  # a quarter of CAN's batch; ImageNet's size
# Relative to the largest entry.
# The first layer's gradient has gone back through a hundred normalisations and ReLUs of random
# weights, which multiply rounding: 5e-2 was found at 257x513, though each normalisation of dajax
# and its gradient are within 3e-7 of float64.
GRADIENT_TOLERANCE = 1e-1


def cases(folder, is_quick):
    """See groups.py."""
    side, frame_hw = (QUICK_SIDE, QUICK_HW) if is_quick else (PHOTO_SIDE, FRAME_HW)
    photos = 2 if is_quick else PHOTOS
    classifier = dict(kind="classifier", blocks=setup.QUICK_BLOCKS if is_quick else setup.RESNET50)
    segmenter = dict(kind="segmenter", blocks=setup.QUICK_BLOCKS if is_quick else setup.RESNET101)
    found = []
    for title, network, shape in (
        (f"ResNet-50, {photos} x {side}x{side}", classifier, (photos, side, side)),
        (f"DeepLab-v2 ResNet-101, {frame_hw[0]}x{frame_hw[1]}", segmenter, (1, *frame_hw)),
    ):
        settings = network | dict(weights=setup.weights_file(folder, **network), shape=shape)
        contenders = {"torch": torch_passes, "dajax": dajax_passes}
        found.append(
            Case(f"forward and backward, {title}", contenders, settings, agree=passes_agree)
        )
    return [*found, adaptsegnet_step.adaptsegnet_case(folder, frame_hw, segmenter)]


def passes_agree(ours, theirs):
    """An `agree`: the loss strictly, the gradient up to what the layers make of rounding."""
    (loss, is_equal), (gradient, is_near) = (
        largest_difference({key: ours[key]}, {key: theirs[key]}, tolerance=tolerance)
        for key, tolerance in (("loss", setup.LOSS_TOLERANCE), ("first_grad", GRADIENT_TOLERANCE))
    )
    return f"loss {loss}, gradient {gradient}", is_equal and is_near


def dajax_passes(kind, blocks, weights, shape):
    """Loss and gradients of all parameters, compiled as a train step is."""
    import jax
    import jax.numpy as jnp

    from dajax.losses.classification import cross_entropy
    from dajax.losses.segmentation import cross_entropy_map, valid_pixels
    from dajax.models.apply import forward_train
    from dajax.ops.resize import resize_bilinear
    from dajax.parallel import compiler_options, masked_mean

    model = setup.build(kind, blocks)
    params, batch_stats = setup.read_weights(weights, model)
    images, labels = jax.device_put(setup.labelled_images(kind, shape))
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

    device = jax.devices()[0]

    def compiled():
        passes, settings = jax.value_and_grad(loss, has_aux=True), compiler_options(device)
        arguments = params, images, labels
        return jax_compiled(passes, arguments, answer, compiler_options=settings)

    return Prepared(compiled, device)


def torch_passes(kind, blocks, weights, shape):
    """The same in torch."""
    import torch
    from torch.nn import functional

    from benchmarks import torch_networks

    device = torch_device()
    make = torch_networks.Classifier if kind == "classifier" else torch_networks.DeepLab
    with np.load(weights) as arrays:
        network = torch_networks.load(make(blocks, setup.CLASSES), dict(arrays)).to(device)
    images, labels = setup.labelled_images(kind, shape)
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
    labels = torch.from_numpy(labels.astype(np.int64)).to(device)

    def run():
        network.zero_grad()
        loss = functional.cross_entropy(network(images), labels, ignore_index=setup.VOID)
        loss.backward()
        return {"loss": loss.item(), "first_grad": network.conv1.weight.grad.cpu().numpy()}

    return prepared_torch(run, device)
