"""AdaptSegNet (Tsai et al., CVPR 2018), the TAN baseline of later papers: adversarial learning in
the output space.

    min_G  CE(source) + lambda_adv * l(D(softmax G(target)), source)
    max_D  l(D(source), source) + l(D(target), target)

`source_temperature` divides the source's logits, for the loss and for the discriminator, and not
the target's: 1.8 in SPCL's warm-up.

There is one discriminator for each head. heads="single" is the single-level TAN; heads="multi" adds
the head at layer3 with weights of its own. `adversarial.kind="least_squares"` is the authors'
`--gan LS`. `adversarial.input="information"` is ADVENT (Vu et al., CVPR 2019): the discriminator
sees the map -p log p / log K in place of p.

Both networks step from the parameters of the iteration's start. Source and target pass the network
one after the other, each with its own batch statistics, and both move the running ones
(train_gta2cityscapes_multi.py, pytorch_0.4).
"""

import jax
import jax.numpy as jnp

from dajax.losses.adversarial import GAN_KINDS, SOURCE_LABEL, TARGET_LABEL, discriminator_map
from dajax.losses.entropy import information_map
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.models.apply import discriminate, split_rng
from dajax.parallel import masked_mean
from dajax.settings import choice

TASK = "segmentation"
MAIN, AUX = "discriminator", "discriminator_aux"
INPUTS = {"softmax": jax.nn.softmax, "information": information_map}  # of the discriminators


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: segmenter, discriminator and, with two heads, discriminator_aux.

    Raises:
      UserError: unknown loss.kind, adversarial.kind or adversarial.input.
    """
    segmenter.check_loss(config)
    choice(config, "adversarial.kind", GAN_KINDS)
    choice(config, "adversarial.input", tuple(INPUTS))
    names = (MAIN, AUX)[: model.num_heads]
    return segmenter.initial_adversarial_state(rng, images, names, config=config, model=model)


def check_data(_state, *, data, config, **_):
    """See interface.py: of IntraDA, some easy and some hard images, and classes that there are."""
    if "labels_from" in config:
        data.check_easy_and_hard(config.easy_share, config.favoured)


def plan(_state, *, data, config):
    """Labelled source images, rare classes drawn more often where the config says so (SPCL's
    warm-up), and target images. In a stage that has labels_from: the easy_share of the target
    images with these pseudo-labels in place of the source, and the hard ones (IntraDA); images that
    show classes of config.favoured are the sooner easy.
    """
    size = config.batch_size
    if "labels_from" in config:
        return data.easy_and_hard(size, config.labels_from, config.easy_share, config.favoured)
    source = (
        data.class_balanced(size)
        if config.class_balanced
        else data.shuffled_with_labels("source", size)
    )
    return {"source": source, "target": data.shuffled("target", size)}


def _judged(params, heads, name, part, label, *, config, axis_name):
    """Mean loss of one discriminator on one domain's predictions, against `label`."""
    logits = discriminate(params[name], heads[name], width=config.adversarial.width)
    losses = discriminator_map(logits, label, config.adversarial.kind)  # [N, h, w]
    return masked_mean(losses, _step.pixel_mask(part["mask"], losses.shape), axis_name)


def _to_judge(seen, kind):
    """{discriminator: float32 [N, H, W, K] of the head that it judges}.

    Args:
      kind: one of INPUTS.
    """
    heads = {MAIN: seen.logits} | ({} if seen.aux_logits is None else {AUX: seen.aux_logits})
    return {name: INPUTS[kind](logits) for name, logits in heads.items()}


def _divided(seen, temperature):
    """Seen with the logits of both heads, and of HRDA's crop, over a temperature."""
    aux, detail = seen.aux_logits, seen.detail
    return seen._replace(
        logits=seen.logits / temperature,
        aux_logits=None if aux is None else aux / temperature,
        detail=None if detail is None else detail._replace(logits=detail.logits / temperature),
    )


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the segmenter and of its discriminators.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image
        and mask. The target's predictions are judged at config.target_hw.
    """
    source, target, adversarial = batch["source"], batch["target"], config.adversarial
    discriminators = {name: tree for name, tree in state.params.items() if name != model.network}
    weights = {MAIN: adversarial.weight, AUX: adversarial.aux_weight}
    shared = dict(config=config, axis_name=axis_name)

    def see(own, batch_stats, part, size_hw, rng):
        return segmenter.see(
            {model.network: own}, batch_stats, part, size_hw, model=model, rng=rng, **shared
        )

    def supervised(own):
        seen, batch_stats = see(
            own, state.batch_stats, source, segmenter.label_size(source), split_rng(rng, 0)
        )
        seen = _divided(seen, config.source_temperature)
        main, aux = segmenter.supervised(seen, source, **shared)
        loss = main if aux is None else main + config.loss.aux_weight * aux
        return loss, (main, _to_judge(seen, adversarial.input), batch_stats)

    def fooling(own, batch_stats):
        target_hw = tuple(config.target_hw)
        seen, batch_stats = see(own, batch_stats, target, target_hw, split_rng(rng, 1))
        heads = _to_judge(seen, adversarial.input)
        terms = {
            name: _judged(discriminators, heads, name, target, SOURCE_LABEL, **shared)
            for name in heads
        }
        loss = sum(weights[name] * term for name, term in terms.items())
        return loss, (terms, heads, batch_stats)

    def discriminating(discriminators, source_heads, target_heads):
        def both_domains(name):
            of_source = _judged(discriminators, source_heads, name, source, SOURCE_LABEL, **shared)
            of_target = _judged(discriminators, target_heads, name, target, TARGET_LABEL, **shared)
            return 0.5 * (of_source + of_target)

        terms = {name: both_domains(name) for name in discriminators}
        return sum(terms.values()), terms

    # Two gradients instead of one of the sum, and the second after the first: the source's
    # activations are gone before the target's are made.
    own = state.params[model.network]
    (seg_loss, (seg, source_heads, stats)), seg_grads = jax.value_and_grad(
        supervised, has_aux=True
    )(own)
    target = _step.not_before(seg_grads, target)
    (adv_loss, (adv, target_heads, stats)), adv_grads = jax.value_and_grad(fooling, has_aux=True)(
        own, stats
    )
    (_, judged), judge_grads = jax.value_and_grad(discriminating, has_aux=True)(
        discriminators, source_heads, target_heads
    )

    grads = {model.network: jax.tree.map(jnp.add, seg_grads, adv_grads), **judge_grads}
    fooled = {f"adversarial_{name}": adv[name] for name in adv}
    return _step.finish_networks(
        state,
        grads,
        stats,
        {"loss": seg_loss + adv_loss, "segmentation": seg} | fooled | judged,
        optimizers=segmenter.adversarial_optimizers(config, model, state.params),
        axis_name=axis_name,
    )
