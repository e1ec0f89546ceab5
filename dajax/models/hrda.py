"""HRDA (Hoyer et al., ECCV 2022): a segmenter that sees the whole image at half its size, for the
context, and at full size in detail (mmseg/models/segmentors/hrda_encoder_decoder.py and
decode_heads/hrda_head.py of its repository).

    logits = up(a) detail + up((1 - a) context),    a = sigmoid(attention(context's features))

One encoder and one head serve both. In training the detail is one crop, drawn anew in every pass
and the same for all images of the batch; a is 0 outside of it. Otherwise it is windows over the
whole image, which overlap by half and whose logits are averaged. The crop has a loss of its own,
see SegOutput.detail.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dajax.errors import UserError
from dajax.models.aspp import Detail, SegOutput
from dajax.models.encoder_decoder import frozen_parameters
from dajax.ops.resize import resize_bilinear
from dajax.ops.sliding_window import places
from dajax.settings import SettingError

SCALE = 2  # of the detail over the context, along each side: scales=[0.5, 1]


def draw_offset(rng, margin, step):
    """Where the detail crop begins along one side: int32 scalar, a multiple of `step`.

    Of `margin` pixels to spare the last multiple is never drawn: the authors' randint(0, (margin +
    1) // step) leaves its upper bound out.
    """
    count = max((margin + 1) // step, 1)
    return step * jax.random.randint(rng, (), 0, count, jnp.int32)


class HRDAHead(nn.Module):
    """Params {"head", "scale_attention"}: the head of both resolutions, and the attention that
    chooses between them.
    """

    head: nn.Module
    scale_attention: nn.Module

    def __call__(self, context_stages, detail_stages, mode, detail_mode):
        """(SegOutput of the context, SegOutput of the detail, attention float32 [N, h, w, K]); the
        head's running statistics move twice, as there.
        """
        context = self.head(context_stages, mode)
        detail = self.head(detail_stages, detail_mode)
        attention = jax.nn.sigmoid(self.scale_attention(context_stages, mode).logits)
        return context, detail, attention


class HRDA(nn.Module):
    """Params {"backbone", "decode_head": {"head", "scale_attention"}}, the authors' names.

    Attributes:
      backbone: its stage_outputs(images, mode) gives a dict of feature maps.
      decode_head: HRDAHead, whose logits come at the stride `stride`.
      num_classes: K.
      detail_hw: height and width of the detail crop, and of the windows, in pixels.
      detail_weight: of the detail's own loss (hr_loss_weight; lambda_d of the paper).
      stride: of the head's logits.
      align_corners: of all resizes of logits.
      dtype: see EncoderDecoder.
    """

    backbone: nn.Module
    decode_head: HRDAHead
    num_classes: int
    detail_hw: tuple[int, int]
    detail_weight: float = 0.1
    stride: int = 4
    align_corners: bool = False
    dtype: str = "float32"
    network: ClassVar[str] = "segmenter"  # its key in TrainState.params and TrainState.batch_stats
    heads: ClassVar[str] = "single"
    num_heads: ClassVar[int] = 1

    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> SegOutput at the head's stride; its features are the
        context's, brought to that size.

        Raises:
          UserError: images of a size that the grids do not divide, or smaller than the detail.
        """
        self._check_size(images.shape[1:3])
        height, width = images.shape[1:3]
        small = resize_bilinear(images, (height // SCALE, width // SCALE), align_corners=False)
        context_stages = self._stages(small, mode)
        if mode.is_random:
            return self._with_crop(images, context_stages, mode)
        return self._with_windows(images, context_stages, mode)

    def _stages(self, images, mode):
        return list(self.backbone.stage_outputs(images.astype(self.dtype), mode).values())

    def _with_crop(self, images, context_stages, mode):
        """The training pass."""
        step, (height, width) = SCALE * self.stride, self.detail_hw
        keys = jax.random.split(self.make_rng("dropout"))
        top, left = (
            draw_offset(key, size - side, step)
            for key, size, side in zip(keys, images.shape[1:3], self.detail_hw, strict=True)
        )
        start, shape = (0, top, left, 0), (images.shape[0], height, width, images.shape[-1])
        crop = jax.lax.dynamic_slice(images, start, shape)
        context, detail, attention = self.decode_head(
            context_stages, self._stages(crop, mode), mode, mode
        )
        self._check_grid(context, images.shape[1:3])
        inside = np.ones((1, height // step, width // step, 1), np.float32)
        mask = jax.lax.dynamic_update_slice(
            jnp.zeros((1, *attention.shape[1:3], 1)), inside, (0, top // step, left // step, 0)
        )
        top, left = top // self.stride, left // self.stride  # cells of the logits
        n, h, w, classes = context.logits.shape
        pasted = jax.lax.dynamic_update_slice(
            jnp.zeros((n, SCALE * h, SCALE * w, classes)), detail.logits, (0, top, left, 0)
        )
        own = Detail(detail.logits, top, left, self.detail_weight)
        return self._fused(context, pasted, attention * mask, own)

    def _with_windows(self, images, context_stages, mode):
        """Inference, and a teacher's pass: all windows are one batch, for the encoder and for the
        head, whose batch statistics are of all of them.
        """
        n, boxes = images.shape[0], self._windows(images.shape[1:3])
        (height, width), stride = self.detail_hw, self.stride
        windows = jnp.concatenate(
            [images[:, top : top + height, left : left + width] for top, left in boxes]
        )  # [windows * N, height, width, C]
        mask = None if mode.mask is None else jnp.tile(mode.mask, len(boxes))
        rows = None if mode.rows is None else jnp.tile(mode.rows, len(boxes))  # none is drawn
        window_mode = mode._replace(mask=mask, rows=rows)
        context, detail, attention = self.decode_head(
            context_stages, self._stages(windows, window_mode), mode, window_mode
        )
        self._check_grid(context, images.shape[1:3])
        hw = [SCALE * side for side in context.logits.shape[1:3]]
        total, counts = jnp.zeros((n, *hw, self.num_classes)), np.zeros((1, *hw, 1), np.float32)
        for (top, left), logits in zip(boxes, jnp.split(detail.logits, len(boxes)), strict=True):
            box = np.s_[
                :,
                top // stride : (top + height) // stride,
                left // stride : (left + width) // stride,
            ]
            total, counts[box] = total.at[box].add(logits), counts[box] + 1
        return self._fused(context, total / counts, attention, None)

    def _windows(self, hw):
        """(top, left) of every window over images of this size, row by row."""
        tops, lefts = (
            places(size, side, side // 2)  # hr_slide_overlapping: they overlap by half
            for size, side in zip(hw, self.detail_hw, strict=True)
        )
        return [(top, left) for top in tops for left in lefts]

    def _fused(self, context, detail, attention, own):
        """SegOutput of logits of both resolutions; the detail's are at the fused size."""
        hw = detail.shape[1:3]

        def up(x):
            return resize_bilinear(x, hw, align_corners=self.align_corners)

        logits = up(attention) * detail + up((1.0 - attention) * context.logits)
        return SegOutput(up(context.features), logits, None, context.last_stage, own)

    def _check_grid(self, context, hw):
        """A network whose pooling rounds up has one cell more."""
        found = context.logits.shape[1:3]
        expected = tuple(size // (SCALE * self.stride) for size in hw)
        if found != expected:
            raise UserError(
                f"config.model.hrda.detail_hw={self.detail_hw}: the network makes"
                f" {found[0]}x{found[1]} logits of the context, where both resolutions meet on"
                f" {expected[0]}x{expected[1]}; set config.model.topology='torchvision', whose"
                " pooling rounds down"
            )

    def _check_size(self, hw):
        step = SCALE * self.stride
        named = f"config.model.hrda.detail_hw={self.detail_hw}"
        if any(size % step for size in hw):
            raise UserError(
                f"images of {hw[0]}x{hw[1]}: with {named} the logits of both resolutions meet on a"
                f" grid of {step} pixels; make config.data.transforms sizes multiples of {step}"
            )
        if any(size < side for size, side in zip(hw, self.detail_hw, strict=True)):
            raise UserError(
                f"images of {hw[0]}x{hw[1]}: smaller than {named}; make them larger,"
                " or that smaller"
            )

    def prediction_logits(self, output):
        """SegOutput -> float32 [N, h, w, K]."""
        return output.logits

    def frozen_parameters(self):
        """See DeepLab."""
        head, attention = self.decode_head.head, self.decode_head.scale_attention
        return frozen_parameters(
            *(self.backbone, "backbone"),
            *(head, "decode_head/head"),
            *(attention, "decode_head/scale_attention"),
        )


def with_detail(segmenter, settings):
    """A segmenter seen through HRDA.

    Args:
      segmenter: EncoderDecoder or DeepLab, not yet bound to parameters.
      settings: config.model.hrda: `detail_hw` in pixels, () for none; `detail_weight`.

    Returns:
      HRDA; the segmenter itself where detail_hw is ().

    Raises:
      SettingError: a segmenter or a crop that HRDA does not fit.
    """
    detail_hw = tuple(settings.detail_hw)
    if not detail_hw:
        return segmenter
    key, name = "hrda.detail_hw", type(segmenter).__name__
    head = segmenter.decoder() if hasattr(segmenter, "decoder") else None
    if not hasattr(head, "attention_head"):
        raise SettingError(key, detail_hw, f"HRDA has no attention for {name}; set it to ()")
    if segmenter.heads != "single":
        problem = "HRDA fuses one head of two resolutions; set it to 'single'"
        raise SettingError("heads", segmenter.heads, problem)
    step = SCALE * segmenter.stride
    if len(detail_hw) != 2 or any(side < 1 or side % step for side in detail_hw):
        problem = f"expected height and width, two multiples of {step} pixels"
        raise SettingError(key, detail_hw, problem)
    return HRDA(
        segmenter.backbone,
        HRDAHead(head, head.attention_head()),
        segmenter.num_classes,
        detail_hw,
        settings.detail_weight,
        stride=segmenter.stride,
        align_corners=segmenter.align_corners,
        dtype=segmenter.dtype,
    )
