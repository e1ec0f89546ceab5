"""Networks of random weights, and images for them: the same in dajax and in torch."""

import multiprocessing

import numpy as np

CLASSES = 19
VOID = 255
RESNET50, RESNET101, QUICK_BLOCKS = (3, 4, 6, 3), (3, 4, 23, 3), (1, 1, 1, 1)
LOSS_TOLERANCE = 1e-4  # of the same weights, relative: float32 in dajax and torch


def weights_file(folder, kind, blocks):
    """An .npz of a random network under torch's names, from shapes alone: a GPU would compile the
    initialisation for a minute. A process of its own makes it, so that this one holds no XLA.
    """
    path = folder / f"{kind}{blocks if kind == 'mit' else sum(blocks)}.npz"
    if not path.exists():
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_write_weights, args=(str(path), kind, blocks))
        process.start()
        process.join()
    return str(path)


def _write_weights(path, kind, blocks):
    from dajax.models.to_torch import to_torch

    model = build(kind, blocks)
    trees = random_trees(model)
    np.savez(path, **to_torch(*(tree[model.network] for tree in trees), norm_set=0))


def random_trees(model):
    """({network: params}, {network: batch_stats}) of numpy arrays: every layer keeps the size of
    what it is given.
    """
    import jax

    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        name = path[-1].key
        if name != "kernel":
            return np.full(leaf.shape, name in ("scale", "var"), np.float32)
        deviation = np.prod(leaf.shape[:-1]) ** -0.5  # of its inputs
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(deviation)

    return jax.tree_util.tree_map_with_path(drawn, shapes_of(model))


def shapes_of(model):
    """({network: params}, {network: batch_stats}) of jax.ShapeDtypeStruct."""
    import jax
    import jax.numpy as jnp

    from dajax.models.apply import init_network

    return jax.eval_shape(
        lambda: init_network(jax.random.key(0), jnp.zeros((1, 65, 65, 3)), model=model)
    )


def state_with(initial, params, batch_stats):
    """The state of `initial()` with these networks in place of its own, whose random numbers are
    then not compiled.
    """
    import jax

    def replaced(params, batch_stats):
        state = initial()
        return state.replace(
            params=state.params | params, batch_stats=state.batch_stats | batch_stats
        )

    return jax.jit(replaced)(params, batch_stats)


def build(kind, blocks, dtype="float32", remat="none"):
    """dajax's network of the comparison.

    Args:
      kind: "classifier", "segmenter", or "mit", with DAFormer's head and nothing dropped.
      blocks: of the four stages of a ResNet; of a MiT its name.
      dtype, remat: config.model's, of a segmenter.
    """
    from ml_collections import ConfigDict

    from dajax.models.classifier import build_classifier
    from dajax.models.deeplab import build_segmenter
    from dajax.recipes.base import common, deeplab

    if kind == "mit":
        return _build_mit(blocks, dtype)
    if kind == "classifier":
        config = common.base("benchmark").model
        config.backbone = "resnet50"
        model = build_classifier(config, CLASSES, 1)
    else:
        settings = deeplab.network("resnet101", "single", "", aspp_branches=2)
        settings |= dict(dtype=dtype, remat=remat)
        model = build_segmenter(ConfigDict(settings), CLASSES, 1)
    return model.clone(backbone=model.backbone.clone(stage_sizes=blocks))


def _build_mit(name, dtype):
    from ml_collections import ConfigDict

    from dajax.models.encoder_decoder import build_segmenter
    from dajax.recipes.base import mit

    settings = mit.network(name) | dict(dropout=0.0, drop_path=0.0, dtype=dtype)
    return build_segmenter(ConfigDict(settings), CLASSES, 1)


def read_weights(path, model):
    """({network: params}, {network: batch_stats}) of the file."""
    import jax

    from dajax.models.to_torch import from_own

    shapes = shapes_of(model)
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
