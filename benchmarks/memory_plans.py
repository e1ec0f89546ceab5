"""What a train step of every published recipe needs of a device's memory, as the compiler plans it.

    python benchmarks/memory_plans.py [--only plca] [--set model.dtype=bfloat16] [--list] [--gpu]

Each recipe is asked for as a user asks for it, and each of its stages that trains is compiled for
one device, from shapes alone: no weights, no data, nothing is run or allocated. A compilation takes
one minute or two. The plan is of the compiler of the device at hand: on a CPU other layouts and
other scratch memory than on a GPU. Images have the recipe's size, without CLAN's random scale.

--gpu asks the compiler of an H100 (h100.txtpb), which needs jax[cuda] and no GPU. Without one it
cannot try kernels out: it takes cuBLAS for products, and cuDNN's default for convolutions.
"""

import argparse
import ast
import importlib
import os
import pathlib
import sys
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks.batch_shapes import Shapes, num_classes
from dajax import parallel
from dajax.engine import memory, teacher
from dajax.engine.train import compile_step
from dajax.methods import METHODS, Sizes, interface
from dajax.models import build

SEGMENTATION = "source_root=DIR,target_root=DIR,weights=none"
PHOTOS = "root=DIR,weights=none"
# (recipe, argument): the networks and sizes that papers have figures of. Pairs of sets that differ
# in the steps alone stand for each other.
RECIPES = (
    *(
        ("adaptsegnet", f"gta5_to_cityscapes,{SEGMENTATION},{more}")
        for more in ("levels=single", "levels=multi", "levels=single,backbone=vgg16")
    ),
    ("source_only_seg", f"gta5_to_cityscapes,{SEGMENTATION}"),
    *((name, f"gta5_to_cityscapes,{SEGMENTATION}") for name in ("advent", "minent", "fda")),
    *(
        ("maxsquare", f"gta5_to_cityscapes,{SEGMENTATION},levels={levels}")
        for levels in ("single", "multi")
    ),
    ("clan", f"gta5_to_cityscapes,{SEGMENTATION}"),
    ("clan", f"synthia_to_cityscapes,{SEGMENTATION}"),
    ("clan", f"gta5_to_cityscapes,{SEGMENTATION},backbone=vgg16_fcn8s"),
    ("spcl", f"gta5_to_cityscapes,{SEGMENTATION},backbone=vgg16"),
    ("fada", f"gta5_to_cityscapes,{SEGMENTATION},backbone=vgg16"),
    ("cbst", f"gta5_to_cityscapes,{SEGMENTATION},backbone=vgg16_fcn8s"),
    ("plca", f"gta5_to_cityscapes,{SEGMENTATION}"),
    ("spcl", f"gta5_to_cityscapes,{SEGMENTATION}"),
    ("bicl", f"gta5_to_cityscapes,{SEGMENTATION}"),
    *(
        (name, f"gta5_to_cityscapes,{SEGMENTATION}")
        for name in ("dacs", "daformer", "hrda", "mic", "vfm")
    ),
    *(
        (name, f"gta5_to_cityscapes,{SEGMENTATION}")
        for name in ("cbst", "fada", "intrada", "pixmatch", "proda")
    ),
    *(
        (name, f"office31,{PHOTOS},source=amazon,target=webcam")
        for name in (
            *("can", "dann", "cdan", "dan", "jan", "mcd", "coral"),
            *("mcc", "bnm", "afn", "mdd", "self_ensemble", "shot"),
        )
    ),
    *((name, f"visda2017,{PHOTOS}") for name in ("can", "dann", "cdan", "dan", "jan", "mcd")),
    ("m3sda", f"domainnet,{PHOTOS},target=clipart"),
    ("can", f"domainnet,{PHOTOS},source=real,target=clipart"),
    ("mscan", f"domainnet,{PHOTOS},target=clipart"),
)
GPU_FILE = pathlib.Path(__file__).with_name("h100.txtpb")
_UNIMPORTANT = ("optimizer", "init_from", "labels_from")


def described_gpu():
    """The device of GPU_FILE, to compile for; there need not be one here.

    Raises:
      NotImplementedError: jax[cuda] is not installed.
    """
    # before JAX looks for GPUs: it would miss the driver, and a compiler without a GPU cannot
    # measure kernels
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    flags = "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    described = topologies.get_topology_desc(
        "gpu", platform="cuda", topology="1x1x1", target_config=GPU_FILE.read_text()
    )
    return described.devices[0]


def _placed(tree, device):
    """The shapes of a tree, on the device."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def plan(config, name, device):
    """The compiled train step's plan of memory, and the seconds that the compilation took.

    Args:
      config: of a run; name: of one of its stages.
      device: that it is compiled for.

    Returns:
      (jax's CompiledMemoryStats, float).
    """
    stage_config, classes = config[name], num_classes(config)
    method = METHODS[stage_config.method]
    is_photo = config.task == "classification"
    make = build.build_model if is_photo else build.build_segmenter
    model, feed = make(config.model, stage_config, num_classes=classes), Shapes(config, classes)
    # a number of target images stands in CAN's state: Office-31's, of 4 bytes each
    sizes = Sizes(source=2817, target=795, num_sources=max(stage_config.target_bn, 1))

    def initial(rng):
        images = jnp.zeros((2, 64, 64, 3), jnp.float32)
        state = method.init(rng, images, config=stage_config, model=model, sizes=sizes)
        begun = teacher.begin(state, stage_config)
        return interface.at_start(method, begun, config=stage_config, model=model)

    rng = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(initial, rng)
    # a plan looks at counters and labels that a run holds on the host
    on_host = state.replace(
        extra=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state.extra)
    )
    batch = method.plan(on_host, data=feed, config=stage_config)
    stage = types.SimpleNamespace(
        method=method,
        stage_config=stage_config,
        model=model,
        data=types.SimpleNamespace(devices=[device]),
    )
    started = time.monotonic()
    shapes = _placed((state, batch, rng), device)
    compiled = compile_step(stage).lower(*shapes).compile()
    return compiled.memory_analysis(), time.monotonic() - started


def cases(only):
    """(what is special of the recipe, config, stage) of every published recipe whose name or
    argument contains `only`. Of stages that differ in their optimiser and their start alone, such
    as BiCL's rounds, the first stands for all.
    """
    for recipe, argument in RECIPES:
        words = [word for word in argument.split(",") if "DIR" not in word and "none" not in word]
        title = f"{recipe} {' '.join(words)}"
        if only not in title:
            continue
        config = importlib.import_module(f"dajax.recipes.{recipe}").get_config(argument)
        seen = []
        for name in config.stages:
            settings = config[name].to_dict()
            same = {key: settings[key] for key in settings if key not in _UNIMPORTANT}
            if hasattr(METHODS[config[name].method], "train_step") and same not in seen:
                seen.append(same)
                yield title, config, name


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="recipes with this in their name or argument")
    parser.add_argument("--stage", default="", help="the stage of this name alone")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of the config",
    )
    parser.add_argument("--list", action="store_true", help="the names alone")
    parser.add_argument("--gpu", action="store_true", help="for an H100; needs jax[cuda] alone")
    args = parser.parse_args()
    try:
        device = described_gpu() if args.gpu else parallel.devices(1)[0]
    except NotImplementedError:
        parser.error("--gpu: needs XLA's compiler for GPUs: pip install 'jax[cuda13]'")
    rows = [("recipe", "stage", "held, GiB", "working memory, GiB", "in all, GiB", "compiled in")]
    for title, config, name in cases(args.only):
        if args.stage not in ("", name):
            continue
        if args.list:
            print(title, name)
            continue
        config.update_from_flattened_dict(dict(map(_setting, args.set)))
        stats, seconds = plan(config, name, device)
        held = memory.held(stats)
        figures = (held, stats.temp_size_in_bytes, held + stats.temp_size_in_bytes)
        row = (title, name, *(f"{size / 2**30:.2f}" for size in figures), f"{seconds:.0f} s")
        rows.append(row)
        print(" | ".join(row), file=sys.stderr, flush=True)
    if not args.list:
        print(
            f"planned by the compiler of {device.device_kind} ({device.platform}), jax"
            f" {jax.__version__}\n"
        )
        lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _setting(text):
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


if __name__ == "__main__":
    main()
