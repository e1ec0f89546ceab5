"""SE, self-ensembling (French et al., ICLR 2018): a mean teacher for target images without labels.

    min  CE(s(source)) + weight * self_ensembling(s(view 1 of target), t(view 2 of target))

Three passes a step, each with its own batch statistics, the teacher's too: student on the source,
student and teacher on two views of the same target images. Then the teacher's parameters move
towards the student's, t = a t + (1 - a) s with a = teacher.momentum, from the first step on. The
authors have two repositories, whose settings are options here:

  statistics   The teacher's running statistics. "own": of its own passes (digits: OldWeightEMA).
               "averaged": after its pass they move towards the student's as the parameters do
               (digits: --fix_ema).
  supervised   "logits", cross-entropy as usual; "probabilities", that of softmax(softmax(z))
               (photos: --double_softmax).
  balance      "bce" (digits), "bug" (photos) or "log": dajax/losses/self_ensembling.py.

Evaluated is the teacher: predict_with="teacher".
"""

import jax

from dajax.losses.classification import cross_entropy
from dajax.losses.self_ensembling import BALANCES, self_ensembling
from dajax.methods import _step
from dajax.models.apply import forward_train, init_network, split_rng
from dajax.ops.moving_average import moving_average
from dajax.parallel import gather, masked_mean, share
from dajax.settings import SettingError, choice
from dajax.state import TEACHER

TASK = "classification"
MOVES_TEACHER = True
STATISTICS, SUPERVISED = ("own", "averaged"), ("logits", "probabilities")


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: an unknown word, or no teacher.
    """
    for key, known in (
        ("statistics", STATISTICS),
        ("supervised", SUPERVISED),
        ("balance", BALANCES),
    ):
        choice(config, key, known)
    if not config.teacher.momentum:
        raise SettingError(
            "teacher.momentum", config.teacher.momentum, "keeps no teacher; set it above 0 (0.99)"
        )
    params, batch_stats = init_network(rng, images, model=model)
    return _step.initial_state(params, batch_stats, config=config, model=model)


def plan(_state, *, data, config):
    """A batch of labelled source images, and one of target images in two views."""
    target = data.with_second_view(data.shuffled("target", config.batch_size))
    return {"source": data.shuffled("source", config.batch_size), "target": target}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the student and of its teacher.

    Args:
      batch: "source" with image [N, H, W, C], label int32 [N], mask bool [N]; "target" with image,
        strong_image, the view of the teacher, and mask.
    """
    source, target = batch["source"], batch["target"]
    teacher = state.extra[TEACHER]

    def see(params, stats, part, number, norm_set):
        own = dict(norm_set=norm_set, axis_name=axis_name, rng=split_rng(rng, number))
        output, stats = forward_train(model, params, stats, part, **own)
        return output.logits, stats

    seen_by_teacher = target | {"image": target["strong_image"]}
    taught, teacher_stats = see(
        teacher["params"], teacher["batch_stats"], seen_by_teacher, 2, config.target_bn
    )
    taught, mask = (gather(x, axis_name) for x in (taught, target["mask"]))

    def loss_fn(params):
        logits, stats = see(params, state.batch_stats, source, 0, _step.SOURCE_NORM_SET)
        if config.supervised == "probabilities":
            logits = jax.nn.softmax(logits)
        ce = masked_mean(cross_entropy(logits, source["label"]), source["mask"], axis_name)
        logits, stats = see(params, stats, target, 1, config.target_bn)
        found = self_ensembling(
            gather(logits, axis_name),
            taught,
            mask,
            threshold=config.threshold,
            balance=config.balance,
            balance_weight=config.balance_weight,
        )
        consistency, sure = (share(x, axis_name) for x in found)
        loss = ce + config.weight * consistency
        terms = {"loss": loss, "ce": ce, "alignment": consistency, "confident_share": sure}
        return loss, (terms, stats)

    (_, (terms, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    after, metrics = _step.finish(
        state, grads, stats, terms, config=config, model=model, axis_name=axis_name
    )
    moved = follow(teacher, after, teacher_stats, config)
    return after.replace(extra={**state.extra, TEACHER: moved}), metrics


def follow(teacher, student, statistics, config):
    """The teacher, {"params", "batch_stats"}, after a step.

    Args:
      teacher: before it. student: TrainState after it. statistics: the teacher's, after its pass.
    """
    momentum = config.teacher.momentum
    if config.statistics == "averaged":
        statistics = moving_average(statistics, student.batch_stats, momentum)
    params = moving_average(teacher["params"], student.params, momentum)
    return {"params": params, "batch_stats": statistics}
