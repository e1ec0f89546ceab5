"""Sets that tensorflow-datasets has prepared: small ones, built here."""

import shutil
import struct
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from data_pipeline import DataError, load_domains
from data_pipeline.check.check_data import check
from data_pipeline.classification.image_set import merged
from data_pipeline.classification.pipeline import Part, batches
from data_pipeline.classification.tfds_sets import _open_builder
from data_pipeline.classification.tfrecord_files import Shard, TfRecordFiles, masked_crc
from data_pipeline.classification.transforms import Transform

SPLITS = dict(source_split="train", target_split="train", evaluation_split="test")
TRANSFORM = Transform((8, 8), (0.0,) * 3, (1.0,) * 3, resize_hw=(8, 8))


def features(shape, names=("0", "1", "2")):
    return {
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(names=names),
    }


class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Image i is filled with 10 * i and has label i % 3. Not registered: opened from its files
    alone, as a user's own sets may be.
    """

    __module__ = "made"  # of a dotted name tfds would look for files in the package
    VERSION = tfds.core.Version("1.0.0")
    FEATURES, KEYS, LABELLED = features((None, None, 1)), ("image", "label"), True

    def __init_subclass__(cls):
        cls.__module__ = "made"
        super().__init_subclass__(skip_registration=True)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(self.FEATURES),
            supervised_keys=self.KEYS,
        )

    def _split_generators(self, _):
        return {"train": self._generate_examples(7), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        channels = self.FEATURES["image"].shape[2]
        for i in range(count):
            example = {
                "image": np.full((5 + i, 6, channels), 10 * i, np.uint8),
                "label": i % 3 if self.LABELLED else -1,
            }
            yield i, {key: example.get(key, 0) for key in self.FEATURES}


class Grey(Made):
    """As mnist is."""


class Colour(Made):
    """As svhn is."""

    FEATURES = features((None, None, 3))


class Letters(Made):
    FEATURES = features((None, None, 3), names=("a", "b", "c"))


class Hidden(Made):
    LABELLED = False


class Unlabelled(Made):
    FEATURES, KEYS = {"image": tfds.features.Image(shape=(None, None, 3))}, None


class Twice(Made):
    """Two labels, and nobody says which."""

    FEATURES = features((None, None, 3)) | {"coarse": tfds.features.ClassLabel(num_classes=2)}
    KEYS = None


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """{file format: the data_dir of all the sets above}."""
    folders = {}
    for file_format in ("array_record", "tfrecord"):
        folders[file_format] = tmp_path_factory.mktemp(file_format)
        for builder in (Grey, Colour, Letters, Hidden, Unlabelled, Twice):
            builder(data_dir=folders[file_format]).download_and_prepare(file_format=file_format)
    return folders


def opened(data_dir, source="grey", target="colour", **settings):
    return load_domains(
        types.SimpleNamespace(
            dataset="tfds",
            root=str(data_dir),
            source=source,
            target=target,
            **SPLITS | dict(download=False) | settings,
        )
    )


def values(images):
    return sorted(int(images.read(i)[0, 0, 0]) for i in range(len(images)))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_prepared_set_is_read_by_row(prepared, file_format):
    (source,), target, evaluation = opened(prepared[file_format])
    assert [images.name for images in (source, target, evaluation)] == [
        "tfds:grey/1.0.0:train",
        "tfds:colour/1.0.0:train",
        "tfds:colour/1.0.0:test",
    ]
    assert source.class_names == target.class_names == ("0", "1", "2") and values(source) == [
        0,
        10,
        20,
        30,
        40,
        50,
        60,
    ]
    for i in (6, 0, 3):  # in any order
        image = source.read(i)
        assert image.shape == (5 + image[0, 0, 0] // 10, 6, 3), "a grey image becomes RGB"
        assert source.labels[i] == image[0, 0, 0] // 10 % 3
    np.testing.assert_array_equal(np.sort(evaluation.labels), [0, 1, 2])


def test_both_file_formats_give_the_same_set(prepared):
    first, second = (opened(folder).sources[0] for folder in prepared.values())
    assert (
        list(first.records) == list(second.records) and first.fingerprint() == second.fingerprint()
    )


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_batch_decodes_grey_and_colour_images_alike(prepared, file_format):
    (source,), target, _ = opened(prepared[file_format])
    parts = {
        name: Part(images, lambda step: np.array([5, -1, 2]), TRANSFORM, 0, name == "source")
        for name, images in (("source", source), ("target", target.without_labels()))
    }
    batch = next(batches(parts, 0, 1))
    for name, images in (("source", source), ("target", target)):
        expected = [images.read(5)[0, 0, 0] / 255, 0.0, images.read(2)[0, 0, 0] / 255]
        np.testing.assert_allclose(batch[name]["image"][:, 4, 4, 1], expected, atol=1e-6)  # float32
    np.testing.assert_array_equal(
        batch["source"]["label"], [source.labels[5], -1, source.labels[2]]
    )
    assert "label" not in batch["target"]


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_prefix_version_and_split_may_stand_in_the_name(prepared, file_format):
    sources, target, evaluation = opened(
        prepared[file_format],
        "tfds:grey:1.0.0:test+colour:train[2:5]",
        "tfds:grey",
        evaluation_split="",
    )
    assert [len(images) for images in (*sources, target)] == [3, 3, 7] and evaluation is target
    assert len(merged(sources)) == 6 and values(merged(sources)) == sorted(
        values(sources[0]) + values(sources[1])
    )
    everything = opened(prepared[file_format], "colour", "colour:all").target
    assert len(everything) == 10
    np.testing.assert_array_equal(
        sources[1].labels, opened(prepared[file_format], "colour").sources[0].labels[2:5]
    )


def test_a_split_without_labels_is_an_unlabelled_target(prepared):
    for name in ("hidden", "unlabelled"):
        _, target, evaluation = opened(prepared["array_record"], target=name)
        assert (
            target.labels is None
            and evaluation.labels is None
            and target.class_names == ("0", "1", "2")
        )
        with pytest.raises(
            DataError,
            match=f"config.data.source='{name}': a source needs labels and this set has none",
        ):
            opened(prepared["array_record"], source=name)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            dict(target="letters"),
            "tfds:letters/1.0.0:.*: class 0 is 'a'; expected '0', as in tfds:grey/1.0.0:train",
        ),
        (
            dict(target="colour:dev"),
            "tfds:colour/1.0.0: no split 'dev'; known: train, test; set config.data.target_split",
        ),
        (
            dict(evaluation_split="validation"),
            (
                "tfds:colour/1.0.0: no split 'validation'; known: train, test; set"
                " config.data.evaluation_split"
            ),
        ),
        (
            dict(target="colour:train[:0]"),
            "tfds:colour/1.0.0: split 'train.:0.' has no example; choose another",
        ),
        (
            dict(source="nonesuch"),
            (
                "tfds:nonesuch: Dataset nonesuch not found; see tensorflow.org/datasets/catalog, or"
                " set config.data.root"
            ),
        ),
        (
            dict(source="domainnet/unreal"),
            "tfds:domainnet/unreal: .*unreal not found.*; see tensorflow.org/datasets/catalog",
        ),
        (
            dict(source="mnist:9.9.9"),
            "tfds:mnist:9.9.9: .*9.9.9.*; see tensorflow.org/datasets/catalog",
        ),
        (dict(source="grey:2.0.0"), "tfds:grey:2.0.0: .*; see tensorflow.org/datasets/catalog"),
        (
            dict(source="no name"),
            "config.data.source='no name': expected .tfds:.name.:version..:split., such as mnist",
        ),
        (
            dict(source="mnist"),
            (
                "tfds:mnist: not prepared in .*mnist/3.0.1; run `tfds build mnist"
                " --file_format=array_record --data_dir=.*`, or set config.data.download=True"
            ),
        ),
        (
            dict(source="twice"),
            (
                "tfds:twice/1.0.0: its features are coarse, image, label; expected one image and"
                " one class label"
            ),
        ),
    ],
)
def test_what_cannot_be_opened_is_named_in_one_line(prepared, settings, message):
    with pytest.raises(DataError, match=message) as caught:
        opened(prepared["array_record"], **settings)
    assert "\n" not in str(caught.value)


def test_a_set_that_is_not_there_is_prepared_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Grey(data_dir=data_dir))
    with pytest.raises(DataError, match="not prepared"):
        _open_builder("grey", str(tmp_path), download=False)
    assert _open_builder("grey", str(tmp_path), download=True).is_prepared()
    assert [path.name for path in tmp_path.rglob("*train*")] == [
        "grey-train.array_record-00000-of-00001"
    ]


def test_check_data_decodes_every_record(prepared):
    (source,), target, evaluation = opened(prepared["tfrecord"])
    lines, is_ok = check(
        [("source", source), ("target", target), ("evaluation", evaluation)],
        lambda done, total: None,
    )
    assert (
        is_ok
        and lines[0] == "source: tfds:grey/1.0.0:train: 7 images, 3 classes"
        and lines[1].split() == ["0", "3"]
    )


def test_a_broken_record_is_reported_by_check_data(prepared, tmp_path):
    path = tmp_path / "colour"
    (prepared["tfrecord"] / "colour").rename(path)
    try:
        file = next(path.rglob("*train.tfrecord*"))
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b"IHDR", b"IHXX", 1))
        target = opened(tmp_path, "colour", "colour").target
        lines, is_ok = check([("target", target)], lambda done, total: None)
        file.write_bytes(whole[:-30])
        with pytest.raises(
            DataError,
            match="train.tfrecord.*: ends within record 6; expected 7: prepare the data set again",
        ):
            opened(tmp_path, "colour", "colour")
        file.write_bytes(whole)
    finally:
        path.rename(prepared["tfrecord"] / "colour")
    assert (
        not is_ok
        and len(
            [
                line
                for line in lines
                if "tfds:colour/1.0.0:train[" in line and "cannot be decoded" in line
            ]
        )
        == 1
    )


def test_records_of_several_files_are_found_by_position(tmp_path):
    import tensorflow as tf

    paths = []
    for shard, count in enumerate((4, 3)):
        paths.append(str(tmp_path / f"{shard}.tfrecord"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for i in range(count):
                writer.write(b"%d" % (10 * shard + i) * (i + 1))
    records = TfRecordFiles([Shard(paths[0], 1, 2), Shard(paths[1], 0, 3)])
    assert list(records) == [b"11", b"222", b"10", b"1111", b"121212"] and records[-1] == b"121212"
    with pytest.raises(
        DataError, match="0.tfrecord: holds 4 records; expected 5: prepare the data set again"
    ):
        TfRecordFiles([Shard(paths[0], 2, 3)])


def _damaged(data_dir, tmp_path, change):
    """A copy of the TFRecord set "colour" whose folder `change` has been at."""
    copy = tmp_path / "copy"
    shutil.copytree(data_dir["tfrecord"], copy)
    change(copy / "colour/1.0.0")
    return copy


def _shard(folder):
    return next(folder.glob("*train.tfrecord*"))


def _write(folder, *examples):
    """Other records under the same name; checksums as the format has them."""
    records = []
    for example in examples:
        data = example.SerializeToString()
        length = struct.pack("<Q", len(data))
        records.append(
            length
            + struct.pack("<I", masked_crc(length))
            + data
            + struct.pack("<I", masked_crc(data))
        )
    _shard(folder).write_bytes(b"".join(records))


def _example(**features):
    example = tf_example_pb2.Example()
    for name, value in features.items():
        if isinstance(value, bytes):
            example.features.feature[name].bytes_list.value.append(value)
        else:
            example.features.feature[name].int64_list.value.extend(value)
    return example


def test_the_checksum_is_crc_32c():
    # RFC 3720's check value, masked
    assert (
        masked_crc(b"123456789")
        == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )


@pytest.mark.parametrize(
    "change, says",
    [
        (
            lambda folder: _shard(folder).unlink(),
            "colour-train.tfrecord-.*: cannot be read: No such file",
        ),
        (
            lambda folder: _shard(folder).write_bytes(bytes(len(_shard(folder).read_bytes()))),
            "the length of record 0 fails its checksum",
        ),
        (
            lambda folder: _shard(folder).write_bytes(b"\x01" + _shard(folder).read_bytes()[1:]),
            "the length of record 0 fails its checksum",
        ),
        (
            lambda folder: (folder / "dataset_info.json").write_text("{"),
            "tfds:colour: what describes it, in .*copy, cannot be read: ",
        ),
        (
            lambda folder: (folder / "dataset_info.json").unlink(),
            "tfds:colour: what describes it, in .*copy, cannot be read: ",
        ),
        (
            lambda folder: _write(folder, *[_example(image=b"x")] * 7),
            r"colour/1.0.0:train\[0\]: its record has 0 values as 'label'",
        ),
        (
            lambda folder: _write(
                folder, *[_example(image=b"x", label=[0])] * 6, _example(image=b"x", label=[1, 2])
            ),
            r"train\[6\]: its record has 2 values",
        ),
        (
            lambda folder: _write(folder, *[_example(image=b"x", label=[2**40])] * 7),
            r"train\[0\]: its record has 1099511627776 as 'label'",
        ),
    ],
    ids=["gone", "zeros", "length", "json", "no json", "no label", "two labels", "large label"],
)
def test_damaged_sets_are_one_line(prepared, tmp_path, change, says):
    with pytest.raises(DataError, match=says):
        opened(_damaged(prepared, tmp_path, change), "letters", "colour:train")


def test_a_record_without_an_image_is_one_line_for_the_fingerprint_too(prepared, tmp_path):
    root = _damaged(prepared, tmp_path, lambda folder: _write(folder, *[_example(label=[0])] * 7))
    images = opened(root, "colour", "colour:test").sources[0]
    for function in (images.fingerprint, lambda: images.read(0)):
        with pytest.raises(
            DataError,
            match=r"colour/1.0.0:train\[0\]: cannot be read: .*prepare the data set again",
        ):
            function()
