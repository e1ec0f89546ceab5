"""MiT with a decoder, as DAFormer, HRDA and MIC have it: configs/_base_/models/ of their
repositories.
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import segmentation as seg_base

BACKBONES = ("mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5", "mit_tiny")

# Channels of the decoders: daformer_sepaspp_mitb5.py, daformer_conv1_mitb5.py, segformer_b5.py.
CHANNELS = {"daformer": 256, "daformer_conv1": 256, "segformer": 768}
TINY_CHANNELS = 32  # ours, of mit_tiny
# detail_hw (): off. hr_loss_weight of HRDA's uda_gta2cs configs.
NO_HRDA = dict(detail_hw=(), detail_weight=0.1)


def network(backbone, weights="", *, head="daformer", heads="single", detail_hw=()):
    """config.model of a MiT.

    Args:
      backbone: "mit_b0" to "mit_b5", or "mit_tiny", ours.
      weights: a file, "" for none.
      head: "daformer"; "daformer_conv1", the same with one 1x1 convolution to fuse; "segformer".
      heads: "single", or "twin", two classifiers whose sum predicts (CLAN).
      detail_hw: height and width in pixels of HRDA's detail crop, which is half of the training
        crop's there; () for no HRDA.
    """
    return dict(
        backbone=backbone,
        head=head,
        head_channels=TINY_CHANNELS if backbone == "mit_tiny" else CHANNELS[head],
        heads=heads,
        dropout=0.1,  # dropout_ratio, of whole channels before the classifier
        drop_path=0.1,  # drop_path_rate of mix_transformer.py, at the last block
        norm="train",  # of the decoder; the encoder normalises position by position
        train_norm_affine=True,
        dtype="float32",
        remat=seg_base.REMAT,
        hrda=dict(NO_HRDA, detail_hw=detail_hw),
        **seg_base.weights_file(weights),
    )


def adamw():
    """DAFormer's AdamW: configs/_base_/schedules/adamw.py, poly10warm.py, and the optimizer_config
    of its uda recipes.
    """
    return base.adamw(
        lr=6e-5,  # of the encoder; the decoder's is ten times that
        schedule="poly_times_warmup",
        power=1.0,
        horizon_steps=0,
        warmup_steps=1500,
        warmup_ratio=1e-6,
        min_lr=0.0,
        **base.custom_keys({"head": (10.0, 1.0), "norm": (1.0, 0.0)}),
    )
