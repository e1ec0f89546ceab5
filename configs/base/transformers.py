"""A transformer in place of the residual network of any recipe: base/mit.py and base/vit.py."""

from dajax.recipes.base import mit, vit

BACKBONES = (*mit.BACKBONES, *vit.BACKBONES)


def in_place(config, arg):
    """The recipe with the transformer that `arg` asks for; as it is where it asks for none.

    Args:
      config: a finished recipe.
      arg: as segmentation.parse returns it.
    """
    return vit.in_place(mit.in_place(config, arg), arg)
