"""Builds a network from a config, and loads pretrained weights where the config names a file."""

from ml_collections import ConfigDict

from dajax import console
from dajax.errors import UserError
from dajax.models import deeplab, encoder_decoder, hrda, mit, vit, vit_segmenter
from dajax.models.classifier import Classifier, build_classifier
from dajax.models.resnet import NORMS
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.weight_files import WeightsError, load_torch_file
from dajax.models.weights import from_torch_resnet
from dajax.settings import SettingError, choice, part_of_config


def build_model(model_config, stage_config, *, num_classes):
    """The classifier of a stage: the run's network, with this stage's gradient stop and its number
    of sets of normalisation statistics.

    Raises:
      UserError: unknown backbone or layer.
    """
    num_domains = max(stage_config.target_bn, 0) + 1
    try:
        with part_of_config("config.model"):
            model = build_classifier(model_config, num_classes, num_domains)
        layers = model.backbone.stage_names()
        stop = choice(stage_config, "stop_gradient_after", ("", *layers))
        return build_classifier(
            model_config, num_classes, num_domains, stop_gradient_after=stop or None
        )
    except ValueError as error:
        raise UserError(f"config.model: {error}") from error


def load_pretrained(model_config, state):
    """`state` with the backbone from the file `config.model.weights`; unchanged where that is
    empty. Prints what was loaded.

    Raises:
      UserError: the file cannot be read, or is of another architecture.
    """
    if not model_config.weights:
        return state
    network = Classifier.network
    params, batch_stats = state.params[network], state.batch_stats[network]
    try:
        backbone, statistics, report = from_torch_resnet(
            load_torch_file(model_config.weights), params["backbone"], batch_stats["backbone"]
        )
    except (WeightsError, OSError) as error:
        raise UserError(f"config.model.weights={model_config.weights}: {error}") from error
    console.say(f"weights: {model_config.weights}\n{report}")
    return state.replace(
        params={**state.params, network: {**params, "backbone": backbone}},
        batch_stats={**state.batch_stats, network: {**batch_stats, "backbone": statistics}},
    )


# {config.model.backbone: the keys beside it that its family needs}
BACKBONES = {
    **dict.fromkeys(deeplab.BACKBONES, deeplab.KEYS),
    **dict.fromkeys(mit.VARIANTS, encoder_decoder.KEYS),
    **dict.fromkeys(vit.VARIANTS, ()),
}
# A stage's choice for the scale and bias of the normalisation -> whether they are trained.
NORM_AFFINE = {"trained": True, "frozen": False}


def build_segmenter(model_config, stage_config, *, num_classes):
    """The segmenter of a run, with as many sets of normalisation statistics as the stage asks for.

    Args:
      model_config: config.model.
      stage_config: of a stage. Its `norm`, and its `norm_affine`, "trained" or "frozen", replace
        the model's where they are not ""; a vision transformer, which has no batch normalisation,
        has neither.
      num_classes: K.

    Raises:
      UserError: an unknown backbone, topology, head or normalisation, or a crop of HRDA that does
        not fit.
    """
    if model_config.backbone in vit.VARIANTS:
        _check_no_batch_norm(model_config, stage_config)
        with part_of_config("config.model"):
            return vit_segmenter.build_segmenter(model_config, num_classes)
    settings = ConfigDict(model_config.to_dict())
    settings.norm = choice(stage_config, "norm", ("", *NORMS)) or model_config.norm
    affine = choice(stage_config, "norm_affine", ("", *NORM_AFFINE))
    if affine:
        settings.train_norm_affine = NORM_AFFINE[affine]
    num_domains = max(stage_config.target_bn, 0) + 1
    try:
        with part_of_config("config.model"):
            word = choice(settings, "backbone", BACKBONES)
            family = encoder_decoder if word in mit.VARIANTS else deeplab
            segmenter = family.build_segmenter(settings, num_classes, num_domains)
            return hrda.with_detail(segmenter, settings.hrda) if "hrda" in settings else segmenter
    except ValueError as error:
        raise UserError(f"config.model: {error}") from error


def _check_no_batch_norm(model_config, stage_config):
    """Raises UserError for a setting of batch normalisation, which the network has not."""
    for key, nothing in (("norm", ""), ("norm_affine", ""), ("target_bn", 0)):
        if stage_config[key] != nothing:
            problem = (
                f"{model_config.backbone} has no batch normalisation, so there is nothing to set:"
                f" set it to {nothing!r}"
            )
            raise SettingError(key, stage_config[key], problem)


def load_segmenter_weights(model_config, state):
    """`state` with the segmenter's entries of the file `config.model.weights`; unchanged where that
    is empty. Prints what was loaded.

    Raises:
      UserError: the file cannot be read, or is of another architecture.
    """
    if not model_config.weights:
        return state
    network = deeplab.DeepLab.network
    try:
        params, statistics, report = from_torch_segmenter(
            load_torch_file(model_config.weights),
            state.params[network],
            state.batch_stats[network],
            skip_heads=model_config.skip_heads,
            allow_partial=model_config.allow_partial,
        )
    except (WeightsError, OSError) as error:
        raise UserError(f"config.model.weights={model_config.weights}: {error}") from error
    console.say(f"weights: {model_config.weights}\n{report}")
    return state.replace(
        params={**state.params, network: params},
        batch_stats={**state.batch_stats, network: statistics},
    )
