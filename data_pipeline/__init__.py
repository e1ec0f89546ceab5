"""Images for training and evaluation: which ones at which step, read, decoded and augmented.

Knows nothing of jax.

Importing this package is cheap. `stream` loads TensorFlow, and so do the two pipelines and `warp`,
which stand on it; `pixels` loads it for PNG files with 16 bits a channel.

    errors                 one error, for all bad data
    sampling               step number -> rows and random numbers, with nothing to remember
    files                  names, lists, and what lies in a folder and is not read
    decode, pixels,        image files -> RGB pixels of 8 bits
      png_chunks
    given                  and of what a person hands over: paths, PIL images, arrays
    preprocess,            what the transforms of both tasks share: resize, settings; colour jitter
      appearance             and blur
    stream                 parts of a batch; batches one after the other, which can be closed

    classification         one label an image
      image_set              sets of images
      folder, office31       class folders
      list_files, visda2017, domainnet
                             list files
      tfds_sets, tfrecord_files
                             what tensorflow-datasets has prepared
      class_aware            batches of the same classes from both domains
      transforms, warp       what happens to an image (numpy and PIL; TensorFlow)
      pipeline               step number -> batch
    digits                 the embedded data set of classification

    segmentation           one label a pixel
      labels, class_csv, train_ids, id_png
                             what the numbers in label files mean
      color_labels           and the colours in a user's own
      segmentation_set, layouts, readers
                             sets of images and label maps, in their folders as downloaded
      class_balanced         rare classes drawn more often
      pseudo_label_files     labels that a network made, written once and read as any others
      transforms             what happens to an image and its label
      pipeline               step number -> batch
    scenes                 the embedded data set of segmentation

    sources                the data sets of classification that a config can name
    check                  what would stop a run, found before its first step
"""

from data_pipeline.classification.class_aware import ClassAwareSampler
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError
from data_pipeline.sources import load_domains

__all__ = ["ClassAwareSampler", "DataError", "ImageSet", "load_domains"]
