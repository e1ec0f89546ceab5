"""Office-31, VisDA-2017 and DomainNet in their folders as downloaded."""

import os
import types

import numpy as np
import photo_files
import pytest

from data_pipeline import DataError, load_domains
from data_pipeline.check.official import official_count
from data_pipeline.classification import domainnet, office31, visda2017
from data_pipeline.classification.image_set import merged

SPLITS = dict(source_split="train", target_split="train", evaluation_split="test")


def opened(dataset, root, source, target, **settings):
    return load_domains(
        types.SimpleNamespace(
            dataset=dataset, root=str(root), source=source, target=target, **settings
        )
    )


def from_domainnet(root, source, target, **splits):
    return opened("domainnet", root, source, target, **SPLITS | splits)


def names(images):
    """The paths below the root."""
    return ["/".join(path.rsplit("/", 3)[1:]) for path in images.paths]


def replace_line(path, number, line):
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    photo_files.write_list(path, *lines)


def test_office31_has_its_31_classes_in_every_domain(tmp_path):
    photo_files.write_office31(tmp_path)
    sources, target, evaluation = opened("office31", tmp_path, "amazon+dslr", "webcam")
    assert [images.name for images in (*sources, target)] == [
        "office31/amazon",
        "office31/dslr",
        "office31/webcam",
    ]
    assert (
        len(target.class_names) == 31
        and target.class_names[0] == "back_pack"
        and evaluation is target
    )
    np.testing.assert_array_equal(sources[1].labels, np.arange(31))


def test_office31_names_a_class_that_is_not_its_own(tmp_path):
    photo_files.write_office31(tmp_path)
    for domain in office31.DOMAINS:
        photo_files.write_images(tmp_path, f"{domain}/images/zebra/1.jpg")
    with pytest.raises(
        DataError, match="zebra: class folder 'zebra' is not in the 31 classes of Office-31"
    ):
        opened("office31", tmp_path, "amazon", "webcam")
    with pytest.raises(
        DataError,
        match="config.data.target: office31 has no domain 'caltech10'; known: amazon, dslr, webcam",
    ):
        opened("office31", tmp_path, "amazon", "caltech10")


def test_visda2017_is_read_by_its_lists(tmp_path):
    photo_files.write_visda2017(tmp_path)
    (source,), target, _ = opened("visda2017", tmp_path, "train", "validation")
    assert (
        names(source)[2] == "train/bus/train_2.png"
        and source.class_names == target.class_names == visda2017.CLASS_NAMES
    )
    np.testing.assert_array_equal(target.labels, np.arange(12))
    test = opened("visda2017", tmp_path, "train", "test").evaluation
    assert names(test) == ["test/trunk00/a.jpg", "test/trunk00/b.jpg", "test/trunk01/c.jpg"]
    np.testing.assert_array_equal(test.labels, [11, 10, 9])
    assert len(merged(opened("visda2017", tmp_path, "train+validation", "test").sources)) == 24


def test_visda2017_is_read_by_class_folders_where_there_is_no_list(tmp_path):
    photo_files.write_visda2017(tmp_path, lists=False)
    (source,), target, _ = opened("visda2017", tmp_path, "train", "validation")
    assert source.name == "visda2017/train" and source.listed is None
    np.testing.assert_array_equal(source.labels, target.labels)


@pytest.mark.parametrize("has_list", [False, True])
def test_visda2017_test_without_class_ids_is_an_unlabelled_target(tmp_path, has_list):
    photo_files.write_visda2017(tmp_path, lists=False)
    if has_list:
        photo_files.write_list(
            tmp_path / "test/image_list.txt", "trunk00/a.jpg", "trunk00/b.jpg", "trunk01/c.jpg"
        )
    target = opened("visda2017", tmp_path, "train", "test").target
    assert target.labels is None and target.class_names == visda2017.CLASS_NAMES
    assert names(target) == ["test/trunk00/a.jpg", "test/trunk00/b.jpg", "test/trunk01/c.jpg"]
    with pytest.raises(
        DataError, match="test/image_list.txt: a source needs class ids; found none"
    ):
        opened("visda2017", tmp_path, "train+test", "validation")


@pytest.mark.parametrize(
    "domain, line, message",
    [
        (
            "train",
            "aeroplane/train_2.png 2",
            (
                "image_list.txt: line 3: id 2 stands for 'aeroplane'; expected 'bus', the official"
                " class"
            ),
        ),
        ("train", "bus/train_2.png 12", "image_list.txt: line 3: class id 12; expected 0..11"),
        ("test", "trunk01/c.jpg 12", "image_list.txt: line 3: class id 12; expected 0..11"),
        (
            "test",
            "trunk01/c.jpg",
            (
                "image_list.txt: line 3 is 'trunk01/c.jpg'; expected '<path of an image> <class"
                " id>', as in line 1"
            ),
        ),
        ("train", "", "image_list.txt: line 3 is ''; expected"),
    ],
)
def test_visda2017_names_the_line_that_is_wrong(tmp_path, domain, line, message):
    photo_files.write_visda2017(tmp_path)
    replace_line(tmp_path / domain / "image_list.txt", 3, line)
    with pytest.raises(DataError, match=message) as caught:
        opened("visda2017", tmp_path, "train", "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("in_folders", [False, True])
def test_domainnet_adapts_to_the_train_list_and_measures_on_the_test_list(tmp_path, in_folders):
    photo_files.write_domainnet(tmp_path, in_folders=in_folders)
    sources, target, evaluation = from_domainnet(tmp_path, "clipart+sketch", "real")
    assert [images.name for images in sources] == [
        "domainnet/clipart/train",
        "domainnet/sketch/train",
    ]
    assert (target.name, evaluation.name) == ("domainnet/real/train", "domainnet/real/test")
    assert names(evaluation) == ["real/bat/4.jpg", "real/ant/5.jpg"] and all(
        map(os.path.isfile, evaluation.paths)
    )
    np.testing.assert_array_equal(evaluation.labels, [1, 0])
    assert {images.class_names for images in (*sources, target, evaluation)} == {
        ("ant", "bat", "cow")
    }


def test_a_class_may_be_absent_from_one_sources_list(tmp_path):
    photo_files.write_domainnet(tmp_path)
    sketch = from_domainnet(tmp_path, "clipart+sketch", "real").sources[1]
    np.testing.assert_array_equal(sketch.class_counts(), [0, 1, 1])


def test_other_splits_can_be_asked_for(tmp_path):
    photo_files.write_domainnet(tmp_path)
    (source,), target, evaluation = from_domainnet(
        tmp_path, "clipart", "real", source_split="all", target_split="test"
    )
    assert source.name == "domainnet/clipart/all" and len(source) == 5 and source.labels[-1] == 0
    assert evaluation is target and len(target) == 2
    with pytest.raises(
        DataError,
        match="config.data.target_split='val': no split of that name; known: train, test, all",
    ):
        from_domainnet(tmp_path, "clipart", "real", target_split="val")


def test_domainnets_target_may_have_a_train_list_without_class_ids(tmp_path):
    photo_files.write_domainnet(tmp_path)
    photo_files.write_list(tmp_path / "real_train.txt", "real/ant/1.jpg", "real/bat/2.jpg")
    _, target, evaluation = from_domainnet(tmp_path, "clipart", "real")
    assert target.labels is None and len(target) == 2 and len(evaluation.labels) == 2
    with pytest.raises(DataError, match="real_train.txt: a source needs class ids; found none"):
        from_domainnet(tmp_path, "real", "clipart")


@pytest.mark.parametrize(
    "file, line, message",
    [
        (
            "sketch_train",
            "sketch/bat/1.jpg 2",
            (
                "sketch_train.txt: line 1: class 'bat' has id 2; expected 1, as in"
                " .*clipart_train.txt: line 2"
            ),
        ),
        (
            "sketch_train",
            "sketch/bee/1.jpg 1",
            (
                "sketch_train.txt: line 1: id 1 stands for 'bee'; expected 'bat', as in"
                " .*clipart_train.txt: line 2"
            ),
        ),
        (
            "real_test",
            "real/yak/4.jpg 4",
            "no line has class id 3, some have 4; expected all from 0",
        ),
        (
            "sketch_train",
            "real/ant/1.jpg 0",
            "sketch_train.txt: line 1 names 'real/ant/1.jpg'; expected 'sketch/<class>/<file>'",
        ),
        (
            "clipart_train",
            "clipart/ant/1.jpg",
            (
                "clipart_train.txt: line 1 is 'clipart/ant/1.jpg'; expected '<path of an image>"
                " <class id>', as in line 2"
            ),
        ),
    ],
)
def test_domainnet_names_the_line_that_is_wrong(tmp_path, file, line, message):
    photo_files.write_domainnet(tmp_path)
    replace_line(tmp_path / f"{file}.txt", 1, line)
    with pytest.raises(DataError, match=message) as caught:
        from_domainnet(tmp_path, "clipart+sketch", "real")
    assert "\n" not in str(caught.value)


def test_a_missing_list_or_folder_of_domainnet_is_named(tmp_path):
    photo_files.write_domainnet(tmp_path)
    (tmp_path / "real_test.txt").unlink()
    with pytest.raises(
        DataError,
        match="no real_test.txt there or in its folder real; download it from ai.bu.edu/M3SDA",
    ):
        from_domainnet(tmp_path, "clipart", "real")
    with pytest.raises(
        DataError, match="no domain 'quickdraw'; domains there: clipart, real, sketch"
    ):
        from_domainnet(tmp_path, "clipart", "quickdraw")
    with pytest.raises(
        DataError,
        match="config.data.source: domainnet has no domain 'art'; known: clipart, infograph",
    ):
        from_domainnet(tmp_path, "art", "real")
    (tmp_path / "clipart_train.txt").write_text("\n")
    with pytest.raises(DataError, match="clipart_train.txt: is empty; expected one"):
        from_domainnet(tmp_path, "clipart", "sketch")
    (tmp_path / "clipart_train.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="clipart_train.txt: is no text"):
        from_domainnet(tmp_path, "clipart", "sketch")


def test_lists_are_opened_without_a_look_at_the_images(tmp_path):
    """DomainNet's lists name 586,575 images: one look at each takes minutes on a network's disk."""
    photo_files.write_domainnet(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    sources, target, _ = from_domainnet(tmp_path, "clipart+sketch", "real")
    assert len(sources[0]) == 4
    with pytest.raises(DataError, match="real/ant/1.jpg: no such file; unpack the download again"):
        target.read(0)


def test_the_official_counts_of_domainnet_add_up():
    totals = [official_count(f"domainnet/{domain}/all") for domain in domainnet.DOMAINS]
    for domain, total in zip(domainnet.DOMAINS, totals, strict=True):
        assert (
            official_count(f"domainnet/{domain}/train") + official_count(f"domainnet/{domain}/test")
            == total
        )
    assert sum(totals) == 586575, "as papers that use DomainNet have it"
