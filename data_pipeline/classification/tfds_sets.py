"""Image sets of tensorflow-datasets by name, such as mnist or domainnet/real, from the folder in
which it has prepared them.

A batch is a function of the step, so records are read row by row: array_record files through tfds'
own random access, and TFRecord files, which are tfds' default, through tfrecord_files. tfds is
imported when a set is opened; TensorFlow is needed only where a set is to be prepared.
"""

import dataclasses
import importlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.tfrecord_files import Shard, TfRecordFiles
from data_pipeline.decode import describe_error
from data_pipeline.errors import DataError
from data_pipeline.files.names import check_below

# "tfds:domainnet/real:1.0.0:train", of which all but the name is optional; a split may be
# "train[:80%]".
_SPEC = re.compile(
    r"(?:tfds:)?(?P<name>\w+(?:/[\w.-]+)?)(?::(?P<version>\d[\d.*]*))?(?::(?P<split>[A-Za-z].*))?"
)

# records read at a time for their labels: five times faster than one by one from array_record
CHUNK = 1024


class _Spec(NamedTuple):
    name: str  # with the version, where one is given: tfds takes it there
    split: str  # "" where none is given


class EncodedImages(Sequence):
    """One feature of serialised tf.train.Examples, as encoded bytes."""

    def __init__(self, examples: Sequence[bytes], feature: str):
        self.examples, self.feature = examples, feature

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        # array_record takes no row from the end, and raises no IndexError
        row = range(len(self))[index]
        return _parse(self.examples[row])[self.feature].bytes_list.value[0]


def read_domains(
    data_dir: str,
    sources: Sequence[str],
    target: str,
    *,
    source_split: str,
    target_split: str,
    evaluation_split: str,
    download: bool,
) -> tuple[tuple[ImageSet, ...], ImageSet, ImageSet]:
    """Labelled sources, the target to adapt to and the target images to measure on.

    Reads every record once for its label, half a minute for a set of 5 GB on a disk of 200 MB/s.
    Args:
      data_dir: tfds' own, with `~` expanded; "" for its default.
      sources, target: "[tfds:]name[:version][:split]".
      source_split, target_split: where the name says none.
      evaluation_split: of the target; "" for the images that are adapted to.
      download: whether a set that is not there may be downloaded and prepared.
    Raises: DataError for an unknown name, split or version, a set that is not prepared, one that is
      no set of classified images, and domains of different classes.
    """
    source_sets, data_dir = [], os.path.expanduser(data_dir)
    for source in sources:
        spec = _parse_spec(source, "source")
        source_sets.append(
            _read_set(spec.name, spec.split or source_split, data_dir, download, "source_split")
        )
        if source_sets[-1].labels is None:
            raise DataError(
                f"config.data.source={source!r}: a source needs labels and this set has none;"
                " choose another"
            )
    class_names = source_sets[0].class_names
    spec = _parse_spec(target, "target")
    adapted_to = spec.split or target_split
    measured_on = evaluation_split or adapted_to
    target_sets = {}
    # one, where they are the same
    for split, key in {measured_on: "evaluation_split", adapted_to: "target_split"}.items():
        images = _read_set(spec.name, split, data_dir, download, key)
        target_sets[split] = (
            images if images.class_names else dataclasses.replace(images, class_names=class_names)
        )
    for other in (*source_sets[1:], *target_sets.values()):
        _check_same_classes(source_sets[0], other)
    return tuple(source_sets), target_sets[adapted_to], target_sets[measured_on]


def _parse_spec(text, key) -> _Spec:
    found = _SPEC.fullmatch(text)
    if not found:
        raise DataError(
            f"config.data.{key}={text!r}: expected [tfds:]name[:version][:split], such as mnist or"
            " domainnet/real:train"
        )
    check_below(found["name"], f"config.data.{key}")
    version = f":{found['version']}" if found["version"] else ""
    return _Spec(found["name"] + version, found["split"] or "")


def _read_set(name, split, data_dir, download, key) -> ImageSet:
    builder = _open_builder(name, data_dir, download)
    image_key, label_key = _feature_keys(builder)
    where = f"tfds:{builder.info.full_name}"
    try:
        instructions = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{where}: no split {split!r}; known: {', '.join(builder.info.splits)}; set"
            f" config.data.{key}, or write the split after the name"
        ) from error
    if not instructions:
        raise DataError(f"{where}: split {split!r} has no example; choose another")
    examples = _open_examples(builder, split, instructions)
    class_names, labels = (), None  # of a set without class labels
    if label_key:
        class_names = tuple(builder.info.features[label_key].names)
        labels = _read_labels(examples, label_key, f"{where}:{split}")
        if (labels < 0).all():  # how tfds writes a split whose labels are not public
            labels = None
    return ImageSet(
        f"{where}:{split}", class_names, labels, records=EncodedImages(examples, image_key)
    )


def _open_builder(name, data_dir, download):
    """tfds' builder of a set that lies prepared."""
    import tensorflow_datasets as tfds  # takes a second

    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    # an unknown name or configuration; an unknown version
    except (ValueError, AssertionError) as error:
        raise DataError(
            f"tfds:{name}: {str(error).splitlines()[0].rstrip(' .:')}; see"
            " tensorflow.org/datasets/catalog, or set config.data.root to the folder in which it"
            " was prepared"
        ) from error
    # of the files that describe a set: protobuf's ParseError, tfds' own ...
    except Exception as error:
        raise DataError(
            f"tfds:{name}: what describes it, in {data_dir or 'the default folder of tfds'}, cannot"
            f" be read: {describe_error(error)}; prepare the data set again"
        ) from error
    if not builder.is_prepared():
        if not download:
            at = f" --data_dir={data_dir}" if data_dir else ""
            raise DataError(
                f"tfds:{name}: not prepared in {builder.data_dir}; run `tfds build {name}"
                f" --file_format=array_record{at}`, or set config.data.download=True"
            )
        # Loads TensorFlow, which preparing needs, with the settings that training needs.
        importlib.import_module("data_pipeline.stream")
        builder.download_and_prepare(file_format="array_record")
    return builder


def _feature_keys(builder) -> tuple[str, str | None]:
    """The names of the image and of the class label, None when there is none."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [
        key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
    ]
    supervised = builder.info.supervised_keys or ()
    if len(supervised) == 2 and supervised[0] in images and supervised[1] in labels:
        return supervised
    if len(images) == 1 and len(labels) <= 1:
        return images[0], labels[0] if labels else None
    raise DataError(
        f"tfds:{builder.info.full_name}: its features are {', '.join(sorted(features))}; expected"
        " one image and one class label, or tfds to say which (supervised_keys): choose"
        " another set"
    )


def _open_examples(builder, split, instructions) -> Sequence[bytes]:
    """The serialised examples of a split, any of them at once."""
    import tensorflow_datasets as tfds

    formats = tfds.core.FileFormat
    found = builder.info.available_file_formats()
    if formats.ARRAY_RECORD in found:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        return builder.as_data_source(
            split, deserialize_method=raw, file_format=formats.ARRAY_RECORD
        )
    if formats.TFRECORD in found:
        return TfRecordFiles(
            [Shard(str(part.filename), part.skip, part.take) for part in instructions]
        )
    names = ", ".join(sorted(one.value for one in found)) or "no format that it names"
    raise DataError(
        f"{builder.data_dir}: holds {names}; expected array_record or tfrecord: prepare the set in"
        " one of them"
    )


def _read_labels(examples, feature, name) -> np.ndarray:
    labels = np.empty(len(examples), np.int32)
    for begin in range(0, len(examples), CHUNK):
        rows = list(range(begin, min(begin + CHUNK, len(examples))))
        try:
            found = examples.__getitems__(rows)
        # what a reader of records raises for a broken file is its own affair
        except Exception as error:
            raise DataError(
                f"{name}[{rows[0]}..{rows[-1]}]: cannot be read: {describe_error(error)}; prepare"
                " the data set again"
            ) from error
        labels[rows] = [
            _label_of(example, feature, f"{name}[{row}]")
            for row, example in zip(rows, found, strict=True)
        ]
    return labels


def _label_of(example, feature, name) -> int:
    try:
        values = _parse(example)[feature].int64_list.value
    except Exception as error:  # protobuf's
        raise DataError(
            f"{name}: its record cannot be read: {describe_error(error)}; prepare the data set"
            " again"
        ) from error
    if len(values) != 1 or not -(2**31) <= values[0] < 2**31:
        found = f"{len(values)} values" if len(values) != 1 else values[0]
        raise DataError(
            f"{name}: its record has {found} as {feature!r}; expected one class id: prepare the"
            " data set again"
        )
    return values[0]


def _parse(example):
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(example).features.feature


def _check_same_classes(first, other):
    for class_id, names in enumerate(zip(first.class_names, other.class_names, strict=False)):
        if names[0] != names[1]:
            raise DataError(
                f"{other.name}: class {class_id} is {names[1]!r}; expected {names[0]!r}, as in"
                f" {first.name}: choose sets of one list of classes"
            )
    if len(first.class_names) != len(other.class_names):
        raise DataError(
            f"{other.name}: {len(other.class_names)} classes; expected {len(first.class_names)}, as"
            f" in {first.name}: choose sets of one list of classes"
        )
