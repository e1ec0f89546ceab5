"""From a step number to a batch of images and label maps; see `data_pipeline.batch_parts`."""

from collections.abc import Iterator, Mapping

import numpy as np

from data_pipeline.batch_parts import ALL, Share, padded, stream_of
from data_pipeline.sampling import make_key
from data_pipeline.segmentation.label_sizes import own_sizes, plan_of
from data_pipeline.segmentation.part_reader import OwnSizes, Reader, SegPart
from data_pipeline.segmentation.segmentation_set import SegmentationSet
from data_pipeline.segmentation.transforms import SegTransform
from data_pipeline.stream import BatchStream


def batches(
    parts: Mapping[str, SegPart], start: int, stop: int, prefetch: int = 2, share: Share = ALL
) -> BatchStream:
    """The batch of each step in [start, stop), one after the other.

    Close the stream when you break off, or use it in a `with`.

    Args:
      parts: name -> SegPart.
      start, stop: steps.
      prefetch: batches that are prepared ahead.
      share: what of it is read.
    Yields: name -> {"image": float32 [R, h, w, 3], "mask": bool [R]}, and

        "label": int32 [R, H, W], train ids     for a part with labels
        "index": int32 [R], row in the set      for a part with its index
        "strong_image": float32 [R, h, w, 3]    for a part with a strong view: the same frames at
                                                the same place, read and decoded once
        "trusted": bool [R, H, W]               for a part with margins: False within them, and in
                                                padded rows

      h and w change from step to step where the transform has `image_scales`.
    Raises: DataError at once for parts that cannot work, and naming the file when one cannot be
      used.
    """
    for name, part in parts.items():
        part.check_labels(name)
    readers = {name: Reader(part) for name, part in parts.items()}
    return stream_of(readers, start, stop, prefetch, share)


def evaluation_batches(
    image_set: SegmentationSet,
    transform: SegTransform,
    batch_size: int,
    with_labels: bool = True,
    share: Share = ALL,
) -> Iterator[dict]:
    """Every image once, in order, with its label at its own size. `share` is of steps.

    Yields: {"image", "mask", "index"} as `batches`, batch_size rows each, the last padded and
      masked; and

        "size_hw": int32 [R, 2]    height and width of the label, of an image without labels
        "room_hw": int32 [R, 2]    all rows alike, at least as large as each of those: one of a few
                                   sizes, see label_sizes.plan_of
        "label": int32 [R, H, W]   with_labels: of room_hw; the label is in the upper left corner,
                                   255 beyond it
    """
    sizes = own_sizes(image_set, with_labels)
    plan = tuple(plan_of(sizes, batch_size))
    part = SegPart(
        image_set=image_set,
        rows=lambda step: plan[step].rows,
        transform=transform,
        key=make_key(0, "evaluation"),
        with_labels=with_labels,
        own_sizes=OwnSizes(sizes, plan),
    )
    return _images_of(batches({"images": part}, 0, len(plan), share=share))


def one_pass(
    image_set: SegmentationSet, transform: SegTransform, batch_size: int, share: Share = ALL
) -> Iterator[dict]:
    """Every image once, in order, with its label as training sees it. `share` is of steps.

    Yields: {"image", "label", "mask", "index"} as `batches`, batch_size rows each, the last padded
      and masked.
    """
    count = len(image_set)
    rows = padded(np.arange(count), count + -count % batch_size).reshape(-1, batch_size)
    part = SegPart(
        image_set=image_set,
        rows=lambda step: rows[step],
        transform=transform,
        key=make_key(0, "pass"),
        with_labels=True,
    )
    return _images_of(batches({"images": part}, 0, len(rows), share=share))


def _images_of(stream) -> Iterator[dict]:
    """The part "images" of each batch; the stream is closed when the generator is."""
    with stream:
        for batch in stream:
            yield batch["images"]
