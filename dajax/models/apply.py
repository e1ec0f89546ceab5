"""How the rest of dajax calls a classifier: initialise it, run it while training, run it for inference."""

import functools

import jax

from dajax import parallel
from dajax.models.norm import Mode

NETWORK = "classifier"  # its key in TrainState.params and TrainState.batch_stats


@functools.lru_cache(maxsize=32)
def _compiled_init(model):
    return jax.jit(lambda rng, images: model.init(rng, images, Mode()))


def init_classifier(rng, images, *, model):
    """Fresh ({"classifier": params}, {"classifier": batch_stats}) for images float32 [N, H, W, C]."""
    variables = _compiled_init(model)(rng, images)
    return {NETWORK: variables["params"]}, {NETWORK: variables["batch_stats"]}


def forward_train(model, params, batch_stats, part, *, domain, axis_name):
    """One forward pass with batch statistics.

    Args:
      params, batch_stats: as in TrainState, by network name.
      part: image float32 [N, H, W, C], mask bool [N]: rows outside of it do not count in the statistics.
      domain: which set of normalisation parameters and statistics.
      axis_name: device axis over which statistics are synchronised, or None.

    Returns:
      (Output, batch_stats with the running statistics of `domain` moved once).
    """
    mode = Mode(train=True, domain=domain, mask=part["mask"], axis_name=axis_name)
    variables = {"params": params[NETWORK], "batch_stats": batch_stats[NETWORK]}
    output, updated = model.apply(variables, part["image"], mode, mutable=["batch_stats"])
    return output, {**batch_stats, NETWORK: updated["batch_stats"]}


@functools.lru_cache(maxsize=32)
def _compiled(model, domain, devices):
    def forward(variables, images):
        return model.apply({name: tree[NETWORK] for name, tree in variables.items()}, images, Mode(train=False, domain=domain))

    return parallel.compile_map(forward, devices)


def inference(model, domain, devices=None):
    """f({"params", "batch_stats"}, images [N, H, W, C]) -> Output, with running statistics; compiled once per model and domain.

    Args:
      devices: split the rows over these; on the default device when None.
    """
    return _compiled(model, domain, tuple(devices or jax.local_devices()[:1]))
