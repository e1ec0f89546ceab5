"""The network's part of a config, as the tests of the segmenters vary it: config.model of
configs/base/deeplab.py, with all of DeepLab's branches.
"""

RESNET101 = dict(
    backbone="resnet101",
    topology="caffe",
    widths=(),
    heads="single",
    head_bias=True,
    head_init="normal",
    aspp_branches=4,
    aspp_rates=(6, 12, 18, 24),
    norm="train",
    train_norm_affine=False,
    dtype="float32",
    remat="none",
)
VGG16 = RESNET101 | dict(backbone="vgg16", aspp_branches=2)  # as AdaptSegNet's DeeplabVGG
SMALL = RESNET101 | dict(
    backbone="resnet_small",
    widths=(4, 6, 8, 8),
    aspp_rates=(1, 2, 4, 6),
    train_norm_affine=True,
)
