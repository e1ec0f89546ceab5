"""A transformer in place of the residual network of any recipe: base/mit.py and base/vit.py."""

from ml_collections import ConfigDict

from dajax.recipes.base import common as base
from dajax.recipes.base import mit, vit

BACKBONES = (*mit.BACKBONES, *vit.BACKBONES)


def in_place(config, arg):
    """The recipe with the transformer that `arg` asks for, as it is where it asks for none (ours:
    no paper has it). Of the network's own settings those of DAFormer (MiT) or VFM-UDA (ViT) replace
    the recipe's: head, RGB images with ImageNet's mean and deviation, half-pixel centres, AdamW.
    All else stays: the discriminator's optimiser, and of the stages' rates the proportion to the
    first one's. With a ViT AdaBN goes, since there is no batch normalisation.

    Args:
      config: a finished recipe.
      arg: as segmentation.parse returns it.
    """
    if arg.backbone not in BACKBONES:
        return config
    is_vit = arg.backbone in vit.BACKBONES
    network = vit.network if is_vit else mit.network
    config.model = ConfigDict(network(arg.backbone, arg.weights, heads=config.model.heads))
    config.evaluation.align_corners = False
    for transform in config.data.transforms.values():
        transform.update(base.IMAGENET_RGB)
    if is_vit and "adabn" in config.stages:
        config.stages = tuple(name for name in config.stages if name != "adabn")
        del config["adabn"]
    stages = [config[name] for name in config.stages if "optimizer" in config[name]]
    first = stages[0].optimizer.lr
    for stage in stages:
        before = stage.optimizer
        stage.optimizer = ConfigDict(vit.optimizer(stage.batch_size) if is_vit else mit.adamw())
        stage.optimizer.lr *= before.lr / first
        stage.optimizer.horizon_steps = before.horizon_steps
    return config
