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

from dajax import parallel
from dajax.engine import memory, teacher
from dajax.engine.train import compile_step
from dajax.methods import METHODS, Sizes, interface
from dajax.models import build
from dajax.ops.class_blocks import batch_sizes
from data_pipeline.segmentation.readers import read_space

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
CLASSES = {"office31": 31, "visda2017": 12, "domainnet": 345}


class Shapes:
    """What a method's plan asks of a feed (dajax/tasks), answered with the shapes of one batch.

    Args:
      config: of a run.
      num_classes: K.
    """

    def __init__(self, config, num_classes):
        self._data, self._task, self._num_classes = config.data, config.task, num_classes

    def _images(self, count, domain, *, with_labels):
        is_photo = self._task == "classification"
        transform = self._data.transform if is_photo else self._data.transforms[domain]
        height_width = tuple(transform.size)
        part = {
            "image": jax.ShapeDtypeStruct((count, *height_width, 3), jnp.float32),
            "mask": jax.ShapeDtypeStruct((count,), jnp.bool_),
        }
        if with_labels:
            shape = (count,) if is_photo else (count, *height_width)
            part["label"] = jax.ShapeDtypeStruct(shape, jnp.int32)
        return part

    def shuffled(self, domain, batch_size, accumulate=1, margins=()):
        has_labels = self._task == "classification" and domain.startswith("source")
        part = self._images(batch_size * accumulate, domain, with_labels=has_labels)
        if margins:
            part["trusted"] = jax.ShapeDtypeStruct(part["image"].shape[:3], jnp.bool_)
        return part

    @property
    def num_sources(self):
        return len(self._data.source.split("+"))

    def with_index(self, part):
        return part | {"index": jax.ShapeDtypeStruct(part["mask"].shape, jnp.int32)}

    def with_second_view(self, part):
        return part | {"strong_image": part["image"]}

    def rare_classes(self, domain, batch_size, _settings):
        return self._images(batch_size, domain, with_labels=True)

    def normalisation(self, domain):
        transform = self._data.transforms[domain]
        return {key: transform[key] for key in ("channels", "divisor", "mean", "std")}

    def shuffled_with_labels(self, domain, batch_size, accumulate=1, transform=""):
        return self._images(batch_size * accumulate, transform or domain, with_labels=True)

    def class_balanced(self, batch_size):
        return self._images(batch_size, "source", with_labels=True)

    def with_pseudo_labels(self, batch_size, _labels_from, transform="target"):
        return self._images(batch_size, transform, with_labels=True)

    def mixed_with_pseudo_labels(self, batch_size, _labels_from, transform, _source_share):
        parts = {"source": "source", "target": transform}
        return {
            part: self._images(batch_size, name, with_labels=True) for part, name in parts.items()
        }

    def with_crops_of_rare_classes(self, part, _labels_from, _settings):
        return part

    def easy_and_hard(self, batch_size, _labels_from, _share, _favoured):
        parts = {"source": True, "target": False}
        return {
            part: self._images(batch_size, "target", with_labels=labels)
            for part, labels in parts.items()
        }

    def class_aware(self, sources, _target_labels, _kept_classes, settings, **_):
        sizes = batch_sizes(settings, self._num_classes)
        source, target = (
            self._images(sizes.classes * count, "source", with_labels=True)
            for count in (sizes.source_per_class, sizes.target_per_class)
        )
        del target["label"]
        return [source for _ in sources], target


def num_classes(config):
    """K of a run's published sets."""
    if config.task == "classification":
        return CLASSES[config.data.dataset]
    return len(read_space(config.data.source).class_names)


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
