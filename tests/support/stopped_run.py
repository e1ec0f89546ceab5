"""A run in small, for test_stream: reads batches of both tasks until a signal comes, and exits with
them broken off.

    python stopped_run.py FOLDER

FOLDER holds photos/<class>/*.png, and a data set "own": images, labels and classes.csv. Prints
"ready" after every few batches.
"""

import sys

from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested
from data_pipeline import sampling
from data_pipeline.batch_parts import ALL
from data_pipeline.classification import pipeline
from data_pipeline.classification.folder import read_folder
from data_pipeline.classification.transforms import Transform
from data_pipeline.segmentation import pipeline as seg_pipeline
from data_pipeline.segmentation.readers import read_domain
from data_pipeline.segmentation.transforms import SegTransform

ENDLESS = 10**6  # steps


class Holder:
    """Keeps a stream in a reference cycle, as a stack trace keeps what its functions held."""

    def __init__(self, stream):
        self.stream, self.itself = stream, self


HALF = (0.5, 0.5, 0.5)


def photo_stream(root, stop=ENDLESS, share=ALL):
    transform = Transform((96, 96), HALF, HALF, resize_hw=(128, 128), crop="random", flip=True)
    images = read_folder(root, "photos")
    part = pipeline.Part(
        images, lambda step: sampling.random_rows(step, 16, len(images), 1), transform, 1, True
    )
    return pipeline.batches({"a": part, "b": part}, 0, stop, share=share)


def frame_stream(root, stop=ENDLESS, share=ALL):
    frames = read_domain(dict(dataset="own", root=root, classes="classes.csv"))
    transform = SegTransform(
        (64, 64),
        resize="bicubic",
        image_scales=(),
        shorter_edge=None,
        scale_range=None,
        flip=True,
        color_jitter=None,
        channels="rgb",
        divisor=255.0,
        mean=HALF,
        std=HALF,
    )
    part = seg_pipeline.SegPart(
        frames, lambda step: sampling.random_rows(step, 4, len(frames), 1), transform, 1, True
    )
    return seg_pipeline.batches({"a": part}, 0, stop, share=share)


def main():
    stop = StopFlag()
    with stop.listening():
        holders = [Holder(photo_stream(sys.argv[1])), Holder(frame_stream(sys.argv[1]))]
        try:
            while True:
                for holder in holders:
                    next(holder.stream)
                print("ready", flush=True)
                stop.check()
        except StopRequested as request:
            print("stopped", flush=True)
            sys.exit(128 + request.signal)


if __name__ == "__main__":
    main()
