"""How the rest of dajax calls a network: initialise it, run it while training, run it for
inference.

The main network of a run, a classifier or a segmenter, stands in TrainState.params under
`model.network`.
"""

import functools

import jax
import jax.numpy as jnp

from dajax import parallel
from dajax.models.discriminator import Discriminator, PixelDiscriminator
from dajax.models.domain_discriminator import DomainDiscriminator
from dajax.models.norm import Mode
from dajax.ops.aggregation import aggregate
from dajax.ops.sliding_window import slide


@functools.lru_cache(maxsize=32)
def _compiled_init(model):
    return jax.jit(lambda rng, images: model.init(rng, images, Mode()))


def init_network(rng, images, *, model):
    """Initial ({network: params}, {network: batch_stats}) for images float32 [N, H, W, C]."""
    variables = _compiled_init(model)(rng, images)
    return {model.network: variables["params"]}, {model.network: variables.get("batch_stats", {})}


def feature_width(model, params, batch_stats, images):
    """D, the channels of the model's features, from shapes alone.

    Args:
      params, batch_stats: by network name.
      images: as the model takes them.
    """
    variables = {"params": params, "batch_stats": batch_stats}
    return jax.eval_shape(lambda: inference(model, 0)(variables, images)).features.shape[-1]


def split_rng(rng, number):
    """The key of one pass of a step out of several; None, for a network without dropout, stays."""
    return None if rng is None else jax.random.fold_in(rng, number)


def _streams(rng):
    return {} if rng is None else {"dropout": rng}


def forward_train(
    model,
    params,
    batch_stats,
    part,
    *,
    norm_set,
    axis_name,
    rng=None,
    rows=None,
    deterministic=False,
):
    """One forward pass with batch statistics and, in a network that has them, dropout, drop path
    and HRDA's crop.

    Args:
      params, batch_stats: as in TrainState, by network name.
      part: image float32 [N, H, W, C], mask bool [N]: rows outside of it do not count in the
        statistics. For a ViT also token_mask, see Mode.
      norm_set: number of the set of normalisation parameters and statistics.
      axis_name: device axis over which statistics are synchronised, or None.
      rng: key of this pass, the same on every device; needed where the network draws something.
      rows: see Mode; None where `part` is this device's share of a batch that is split over the
        devices in order.
      deterministic: see Mode; a teacher's pass, which needs no `rng`. Its statistics are the
        batch's, and whoever wants the running ones unmoved throws the returned ones away.

    Returns:
      (Output, batch_stats with the running statistics of that set moved once).
    """
    rows = parallel.row_numbers(len(part["mask"]), axis_name) if rows is None else rows
    mode = Mode(
        train=True,
        norm_set=norm_set,
        mask=part["mask"],
        axis_name=axis_name,
        rows=rows,
        deterministic=deterministic,
        token_mask=part.get("token_mask"),
    )
    variables = {"params": params[model.network], "batch_stats": batch_stats[model.network]}
    output, updated = model.apply(
        variables, part["image"], mode, mutable=["batch_stats"], rngs=_streams(rng)
    )
    return output, {**batch_stats, model.network: updated.get("batch_stats", {})}


def prediction_scores(model, params, output, *, aggregation_alpha):
    """The scores whose argmax is a segmenter's prediction, at the backbone's stride: float32 [N, h,
    w, K].

    They are logits; with spatial aggregation (PLCA, tools/test.py) class probabilities: features
    are blended with their aggregate and classified, and the class probabilities are blended with
    their aggregate.

    Args:
      params: of the segmenter.
      output: SegOutput.
      aggregation_alpha: weight of the aggregate, in [0, 1); 0 for none.
    """
    if not aggregation_alpha:
        return model.prediction_logits(output)
    features = aggregate(output.features, metric="cosine", alpha=aggregation_alpha)
    probabilities = jax.nn.softmax(model.classify(params, features))
    return aggregate(probabilities, metric="negative_kl", alpha=aggregation_alpha, contrast=False)


def forward(model, variables, images, norm_set):
    """The network's output for images float32 [N, H, W, C], with running statistics.

    Args:
      variables: {"params", "batch_stats"}, each by network name.
      norm_set: which set of normalisation parameters and statistics.
    """
    own = {name: tree[model.network] for name, tree in variables.items()}
    return model.apply(own, images, Mode(train=False, norm_set=norm_set))


def predict_scores(model, variables, images, *, norm_set, aggregation_alpha=0.0, window=None):
    """`prediction_scores` of images float32 [N, H, W, 3]; arguments as `forward`.

    Args:
      window: ops.sliding_window.Window, through which the images go; the scores are then float32
        [N, H, W, K]. None for the whole images at once.
    """

    def scores_of(images):
        output = forward(model, variables, images, norm_set)
        params = variables["params"][model.network]
        return prediction_scores(model, params, output, aggregation_alpha=aggregation_alpha)

    return scores_of(images) if window is None else slide(scores_of, images, window)


def init_discriminator(rng, *, num_classes, width):
    """Initial parameters of the patch discriminator over maps of class probabilities."""
    return _compiled_discriminator_init(num_classes, width)(rng)


@functools.lru_cache(maxsize=8)
def _compiled_discriminator_init(num_classes, width):
    return jax.jit(
        lambda rng: Discriminator(width).init(rng, jnp.zeros((1, 64, 64, num_classes)))["params"]
    )


def discriminate(params, probabilities, *, width):
    """The patch discriminator's raw output for class probabilities float32 [N, H, W, K]: float32
    [N, H // 32, W // 32].
    """
    return Discriminator(width).apply({"params": params}, probabilities)


def init_pixel_discriminator(rng, *, num_inputs, num_classes, width):
    """Initial parameters of FADA's discriminator over features with `num_inputs` channels."""
    module = PixelDiscriminator(num_classes, width)
    return jax.jit(lambda rng: module.init(rng, jnp.zeros((1, 8, 8, num_inputs)))["params"])(rng)


def discriminate_pixels(params, features, *, num_classes, width):
    """FADA's discriminator: features float32 [N, h, w, D] -> logits float32 [N, h, w, 2 K]."""
    return PixelDiscriminator(num_classes, width).apply({"params": params}, features)


def init_domain_discriminator(rng, *, width, num_inputs):
    """Initial (params, batch_stats) of the domain discriminator over `num_inputs` features."""
    module = DomainDiscriminator(width)
    variables = jax.jit(lambda rng: module.init(rng, jnp.zeros((2, num_inputs)), Mode()))(rng)
    return variables["params"], variables["batch_stats"]


def discriminate_domains(params, batch_stats, features, mask, *, width, axis_name):
    """The domain discriminator with batch statistics.

    Args:
      features: float32 [N, D].
      mask: bool [N], rows that count in the statistics.

    Returns:
      (logits float32 [N], batch_stats moved once).
    """
    mode = Mode(train=True, mask=mask, axis_name=axis_name)
    variables = {"params": params, "batch_stats": batch_stats}
    logits, updated = DomainDiscriminator(width).apply(
        variables, features, mode, mutable=["batch_stats"]
    )
    return logits, updated["batch_stats"]


def init_head(rng, *, model, num_inputs):
    """Initial (params, batch_stats) of a second head for a classifier, shaped as its own head."""
    head = model.another_head()
    variables = jax.jit(lambda rng: head.init(rng, jnp.zeros((2, num_inputs)), Mode()))(rng)
    return variables["params"], variables.get("batch_stats", {})


def apply_head(
    model, params, batch_stats, features, mask, *, norm_set, axis_name, rng=None, rows=None
):
    """A second head with batch statistics: (logits float32 [N, K], batch_stats).

    Args:
      features: float32 [N, D].
      mask, norm_set, axis_name, rng, rows: as in forward_train.
    """
    rows = parallel.row_numbers(len(mask), axis_name) if rows is None else rows
    mode = Mode(train=True, norm_set=norm_set, mask=mask, axis_name=axis_name, rows=rows)
    variables = {"params": params, "batch_stats": batch_stats}
    logits, updated = model.another_head().apply(
        variables, features, mode, mutable=["batch_stats"], rngs=_streams(rng)
    )
    return logits, updated.get("batch_stats", {})


@functools.lru_cache(maxsize=32)
def _compiled(model, norm_set, devices):
    def run(variables, images):
        return forward(model, variables, images, norm_set)

    return parallel.compile_map(run, devices)


def inference(model, norm_set, devices=None):
    """f({"params", "batch_stats"}, images [N, H, W, C]) -> Output, with running statistics; it is
    compiled once per model and set.

    Args:
      devices: the rows are split over these; None: the default device.
    """
    return _compiled(model, norm_set, tuple(devices or jax.local_devices()[:1]))


@functools.lru_cache(maxsize=32)
def _compiled_segmenter(model, norm_set, aggregation_alpha, window, devices):
    settings = dict(norm_set=norm_set, aggregation_alpha=aggregation_alpha, window=window)
    return parallel.compile_map(functools.partial(predict_scores, model, **settings), devices)


def segmenter_inference(model, norm_set, aggregation_alpha=0.0, devices=None, window=None):
    """f({"params", "batch_stats"}, images [N, H, W, 3]) -> float32 [N, h, w, K], see
    predict_scores; it is compiled once per size of the images.

    Args:
      devices: the rows are split over these; None: the default device.
    """
    devices = tuple(devices or jax.local_devices()[:1])
    return _compiled_segmenter(model, norm_set, aggregation_alpha, window, devices)
