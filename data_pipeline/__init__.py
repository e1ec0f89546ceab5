"""Images for training and evaluation: which ones at which step, read, decoded and augmented. Knows
nothing of jax.

Importing this package is cheap. TensorFlow is loaded by `pipeline`, `seg_pipeline` and `transforms`
only (and for PNG files with 16 bits a channel).

    sampling, class_aware                step number -> rows and random numbers, with nothing to remember
    names, text_files, folder_scan       what is called how, and what lies in a folder and is not read
    decode, png_chunks                   image files -> RGB pixels of 8 bits, for both tasks
    stream                               batches one after the other, which can be closed
    classification
      image_set, sources                   sets of images, and the ones that a config can name:
      digits                                 the embedded data set
      folder, office31                       class folders
      list_files, visda2017, domainnet       list files
      tfds_sets, tfrecord_files              what tensorflow-datasets has prepared
      preprocess, transforms               what happens to an image (numpy; TensorFlow)
      pipeline                             step number -> batch
    segmentation
      labels, class_csv, train_ids         what the numbers in label files mean
      color_labels                         and the colours in a user's own
      segmentation_set, seg_readers        sets of images and label maps, in their folders as downloaded
      class_balanced                       rare classes drawn more often
      pseudo_label_files                   labels that a network made, written once and read as any others
      scenes                               the embedded data set
      seg_transforms, color_jitter         what happens to an image and its label
      seg_pipeline                         step number -> batch
    file_checks, start_checks            what would stop a run, found without decoding
    check_data, check_images, official   reading everything once, before a run
"""

from data_pipeline.classification.class_aware import ClassAwareSampler
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError
from data_pipeline.sources import load_domains

__all__ = ["ClassAwareSampler", "DataError", "ImageSet", "load_domains"]
