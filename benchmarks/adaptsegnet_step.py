"""A whole AdaptSegNet step, against a program in torch that does the same from the same weights.

A step is of one source and one target image, single level, SGD and Adam.
"""

import functools

import numpy as np

from benchmarks import network_setup as setup
from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import prepared_jax_steps, prepared_torch_steps, torch_device


def adaptsegnet_case(folder, frame_hw, segmenter, title="AdaptSegNet step", contenders=None, **how):
    """The whole step; without `contenders` of torch and of dajax."""
    settings = dict(
        weights=setup.weights_file(folder, **segmenter),
        blocks=segmenter["blocks"],
        size_hw=frame_hw,
    )
    return Case(
        f"{title}, {frame_hw[0]}x{frame_hw[1]}",
        contenders or {"torch": torch_step, "dajax": dajax_step},
        settings,
        agree=functools.partial(largest_difference, tolerance=setup.LOSS_TOLERANCE),
        **how,
    )


def adaptsegnet(blocks, weights, size_hw, dtype, remat):
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
    model = setup.build("segmenter", blocks, dtype, remat)
    images = jnp.zeros((1, 65, 65, 3))
    state = setup.state_with(
        lambda: method.init(jax.random.key(0), images, config=config, model=model),
        *setup.read_weights(weights, model),
    )
    source, label = setup.labelled_images("segmenter", (1, *size_hw), 0)
    target, _ = setup.labelled_images("segmenter", (1, *size_hw), 1)
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


def dajax_step(weights, blocks, size_hw, dtype="float32", steps=1, remat="none"):
    """So many AdaptSegNet steps, one after the other, without a look at the figures between."""
    step, *arguments = adaptsegnet(blocks, weights, size_hw, dtype, remat)
    return prepared_jax_steps(step, steps, *arguments)


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
        network = torch_networks.load(torch_networks.DeepLab(blocks, setup.CLASSES), dict(arrays))
    judge = torch_networks.discriminator(setup.CLASSES).to(device, memory_format=layout)
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
    source, labels = setup.labelled_images("segmenter", (1, *size_hw), 0)
    target, _ = setup.labelled_images("segmenter", (1, *size_hw), 1)
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
            loss = functional.cross_entropy(source_logits, labels, ignore_index=setup.VOID)
            loss.backward()
            target_logits = see(target)
            (0.001 * judged(target_logits, 0.0)).backward()
            judge.requires_grad_(True)
            (0.5 * judged(source_logits.detach(), 0.0)).backward()
            (0.5 * judged(target_logits.detach(), 1.0)).backward()
        optimizer.step()
        judge_optimizer.step()
        return loss

    return prepared_torch_steps(step, steps, device)
