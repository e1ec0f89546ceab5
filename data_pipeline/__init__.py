"""Images for training and evaluation: which ones at which step, read, decoded and augmented. Knows nothing of jax.

Importing this package is cheap. TensorFlow is loaded by `data_pipeline.pipeline` and `data_pipeline.transforms` only.

    image_set, folder, digits, sources   sets of images and where they come from
    sampling, class_aware                step number -> rows and random numbers, with nothing to remember
    preprocess, transforms               what happens to an image (numpy; TensorFlow)
    pipeline                             step number -> batch
"""

from data_pipeline.class_aware import ClassAwareSampler
from data_pipeline.errors import DataError
from data_pipeline.image_set import ImageSet
from data_pipeline.sources import load_domains

__all__ = ["ClassAwareSampler", "DataError", "ImageSet", "load_domains"]
