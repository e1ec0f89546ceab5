"""DAN (Long et al., ICML 2015), the maximum mean discrepancy of features with several kernels.

  python run.py --config=configs/dan.py                      rendered digits -> handwriting; no download, minutes on two cores
  python run.py --config=configs/dan.py:digits,network=can   with CAN's network, as configs/compare_cls.py has it
  python run.py --config=configs/dan.py:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=configs/dan.py:office31,root=DIR,source=amazon,target=webcam,weights=resnet50-19c8e357.pth
  python run.py --config=configs/dan.py:visda2017,root=DIR,weights=resnet101-5d3b4d8f.pth
  python run.py --config=configs/dan.py:domainnet,root=DIR,target=clipart,weights=resnet101-5d3b4d8f.pth    (other domains: one source)

Office-31, average of six tasks, ResNet-50 (slides of CAN): 80.4; VisDA-2017 mean-class, ResNet-101:
62.8. How such rows were run is not stated; the settings here are tllib's. Neither has been
reproduced here yet. configs/base/classification.py says which settings are not tllib's, all
arguments, and where the weights are to be had:
https://download.pytorch.org/models/resnet50-19c8e357.pth for one.
"""

from dajax.recipes.base import classification as cls_base


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    return cls_base.recipe("dan", arg)
