"""DANN / RevGrad (Ganin and Lempitsky, ICML 2015), a discriminator of features behind a gradient
reversal.

  python run.py --config=configs/dann.py                      rendered digits -> handwriting; no download, minutes on two cores
  python run.py --config=configs/dann.py:digits,network=can   with CAN's network, as configs/compare_cls.py has it
  python run.py --config=configs/dann.py:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=configs/dann.py:office31,root=DIR,source=amazon,target=webcam,weights=resnet50-19c8e357.pth
  python run.py --config=configs/dann.py:visda2017,root=DIR,weights=resnet101-5d3b4d8f.pth
  python run.py --config=configs/dann.py:domainnet,root=DIR,target=clipart,weights=resnet101-5d3b4d8f.pth    (other domains: one source)

Office-31, average of six tasks, ResNet-50 (slides of CAN): RevGrad 82.2; VisDA-2017 mean-class,
ResNet-101: 57.4. How such rows were run is not stated; the settings here are tllib's. Neither has
been reproduced here yet. configs/base/classification.py says which settings are not tllib's, all
arguments, and where the weights are to be had:
https://download.pytorch.org/models/resnet50-19c8e357.pth for one.
"""

from dajax.recipes.base import classification as cls_base


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    return cls_base.recipe("dann", arg)
