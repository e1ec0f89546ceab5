"""What issue 15 asks of a GPU: how near the AdaptSegNet step of DeepLab-v2 ResNet-101 at 512x1024
comes to the card's own rate of matrix products, and how it compares with torch on the same card
(channels_last, AMP, torch.compile).

Without ml-collections on the machine its wheel will do, on PYTHONPATH; flax, optax and torch have
to be there, TensorFlow need not. On a machine that is lent for minutes give each group a command of
its own, with --out: the file is written after each group, and a pipe into grep or tail loses what
it holds when time is up.

  export PYTHONPATH=ml_collections-1.1.0-py3-none-any.whl
  python -m benchmarks --only=gpu --out=FILE.md
  python -m benchmarks --only=gpu_plca --out=FILE.md
"""

import functools
import importlib.util
import time

import numpy as np

from benchmarks import adaptsegnet_step, networks
from benchmarks import network_setup as setup
from benchmarks.cases import Case, largest_difference
from benchmarks.contenders import prepared_torch, torch_device
from benchmarks.race import Prepared

TITLE = "a GPU's bfloat16 products, and the AdaptSegNet step at 512x1024 against torch"
MINUTES = 3.5  # on 16 cores with an H200
NEEDS = ("ml_collections",)

FRAME_HW = (512, 1024)  # AdaptSegNet's target
STEPS = 10  # of a call, between which the host does not wait
# sides of the matrices, and products of a call: 8192 is large enough to reach a card's own rate
PRODUCT, PRODUCTS = 8192, 20
QUICK_PRODUCT, QUICK_PRODUCTS = 128, 2
# of the first loss, relative: on a GPU both take the products of float32 in TF32, of 10 bits, and
# bfloat16 has 7; a hundred layers add up
TOLERANCE = {"float32": 1e-2, "bfloat16": 5e-2}


def cases(folder, is_quick):
    """See groups.py."""
    side, count = (QUICK_PRODUCT, QUICK_PRODUCTS) if is_quick else (PRODUCT, PRODUCTS)
    frame_hw = networks.QUICK_HW if is_quick else FRAME_HW
    blocks = setup.QUICK_BLOCKS if is_quick else setup.RESNET101
    segmenter = dict(kind="segmenter", blocks=blocks)
    settings = dict(
        weights=setup.weights_file(folder, **segmenter),
        blocks=blocks,
        size_hw=frame_hw,
        steps=1 if is_quick else STEPS,
    )
    found = [
        Case(
            f"{count} bfloat16 products of {side}x{side}",
            {"torch": torch_products, "jax": jax_products},
            dict(side=side, count=count),
            repeats=5,
            remark=rate,
        )
    ]
    return found + steps_against_torch(
        f"{settings['steps']} AdaptSegNet steps, {frame_hw[0]}x{frame_hw[1]}",
        adaptsegnet_step.torch_step,
        functools.partial(dajax_step, side=side, count=count),
        settings,
        functools.partial(rate_of_steps, blocks=blocks, size_hw=frame_hw),
    )


def steps_against_torch(title, torch_step, dajax_step, settings, remark):
    """A case of train steps in bfloat16, where torch has channels_last, AMP and, in a contender of
    its own, torch.compile; and one in float32.
    """
    fast = dict(dtype="bfloat16", channels_last=True)
    compiled = functools.partial(torch_step, **fast, is_compiled=True)
    found = []
    for dtype, torch_settings, first in (
        ("bfloat16", fast, {"torch, torch.compile": compiled}),
        ("float32", {}, {}),
    ):
        contenders = first | {
            "torch": functools.partial(torch_step, **torch_settings),
            "dajax": functools.partial(dajax_step, dtype=dtype),
        }
        agree = functools.partial(largest_difference, tolerance=TOLERANCE[dtype])
        how = dict(at_once=True, agree=agree, remark=remark)
        found.append(Case(f"{title}, {dtype}", contenders, settings, **how))
    return found


def rate_of_steps(name, result, blocks, size_hw):
    """`rate` of the operations that torch counts in such steps."""
    if importlib.util.find_spec("torch") is None:
        return ""
    steps = 1 if blocks == setup.QUICK_BLOCKS else STEPS
    flops = steps * operations_of_step(blocks, size_hw)
    return rate(name, result._replace(answer=result.answer | {"flops": flops}))


@functools.cache
def operations_of_step(blocks, size_hw):
    """Floating-point operations of an AdaptSegNet step, of shapes alone: both images through the
    network and back, the discriminator's share (less than a hundredth) once.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks import torch_networks

    with torch.device("meta"):
        network = torch_networks.DeepLab(blocks, setup.CLASSES)
        judge = torch_networks.discriminator(setup.CLASSES)
        image = torch.zeros(1, 3, *size_hw)
    with FlopCounterMode(display=False) as counter:
        network(image).sum().backward()
        judge(network(image)).sum().backward()
    return counter.get_total_flops()


def rate(name, result):
    """TFLOP/s, and its share of the rate of products in the same process."""
    del name
    reached = float(result.answer["flops"]) / float(np.median(result.seconds))
    said = f"{reached / 1e12:.4g} TFLOP/s"
    if "product_rate" not in result.answer:
        return said
    return f"{said}, {reached / float(result.answer['product_rate']):.1%} of the products' rate"


def jax_products(side, count):
    import jax

    run = _products(side, count)
    return Prepared(lambda: lambda: run() | {"flops": 2.0 * side**3 * count}, jax.devices()[0])


def _products(side, count):
    """run() of so many products in a chain, compiled."""
    import jax
    import jax.numpy as jnp

    matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)

    @jax.jit
    def product(x):
        return (x @ matrix) * jnp.bfloat16(side**-0.5)

    jax.block_until_ready(product(matrix))

    def run():
        x = matrix
        for _ in range(count):
            x = product(x)
        jax.block_until_ready(x)
        return {}

    return run


def torch_products(side, count):
    import torch

    device = torch_device()
    torch.manual_seed(0)
    matrix = torch.randn(side, side, dtype=torch.bfloat16, device=device)

    def run():
        x = matrix
        for _ in range(count):
            x = (x @ matrix) * side**-0.5
        x[0, 0].item()  # waits
        return {"flops": 2.0 * side**3 * count}

    return prepared_torch(run, device)


def dajax_step(weights, blocks, size_hw, steps, dtype, side, count):
    """adaptsegnet_step.dajax_step, with the rate of bfloat16 products in the same process."""
    prepared = adaptsegnet_step.dajax_step(weights, blocks, size_hw, dtype, steps)

    def build():
        run, products = prepared.build(), _products(side, count)
        products()
        started = time.perf_counter()
        products()
        product_rate = 2.0 * side**3 * count / (time.perf_counter() - started)
        return lambda: run() | {"product_rate": product_rate}

    return prepared._replace(build=build)
