"""Normalisation statistics of the target, which replace those of training."""

import functools

import jax

from dajax import parallel
from dajax.models.apply import forward_train, prediction_scores
from dajax.models.norm import Mode
from dajax.ops.sliding_window import slide


@functools.lru_cache(maxsize=32)
def _compiled_estimation(model, norm_set):
    def move(params, batch_stats, batch, rng):
        _, moved = forward_train(
            model, params, batch_stats, batch, norm_set=norm_set, axis_name=None, rng=rng
        )
        return moved

    return jax.jit(move)


def reestimate_statistics(variables, *, data, model, norm_set, batch_size, num_batches):
    """AdaBN: `variables` with running statistics re-estimated on unlabelled target training images;
    no parameter changes.

    Args:
      variables: {"params", "batch_stats"}, each by network name.
      data: a task's Feed.
      norm_set: which set of statistics.
      batch_size: rounded up to a multiple of the number of devices, as the feed asks for.
      num_batches: each moves the statistics by the layers' momentum, 0.1; after 50 batches the
        statistics of training have a weight of 0.5 %.
    """
    batch_size = parallel.round_up(batch_size, data.devices)
    part = data.shuffled("target", batch_size)
    move, batch_stats = _compiled_estimation(model, norm_set), variables["batch_stats"]
    for number, batch in enumerate(data.whole_steps({"target": part}, 0, num_batches)):
        batch_stats = move(
            variables["params"],
            batch_stats,
            {key: batch["target"][key] for key in ("image", "mask")},
            jax.random.fold_in(jax.random.key(0), number),  # of dropout, where there is some
        )
    return variables | {"batch_stats": batch_stats}


def predict_scores_by_image(model, variables, images, *, norm_set, window=None):
    """`apply.predict_scores` with every image normalised by its own statistics, as in a training
    step with batch size 1; running statistics do not change. Of images that go through windows,
    every window.
    """
    own = {name: tree[model.network] for name, tree in variables.items()}

    mode = Mode(train=True, norm_set=norm_set, deterministic=True)

    def predict(image):
        output, _ = model.apply(own, image[None], mode, mutable=["batch_stats"])
        return prediction_scores(model, own["params"], output, aggregation_alpha=0.0)[0]

    by_image = jax.vmap(predict)
    return by_image(images) if window is None else slide(by_image, images, window)
