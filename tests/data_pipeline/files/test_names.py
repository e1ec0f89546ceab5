"""Names of files, folders and classes: bytes on a disk, Unicode forms, marks in text files, paths
that leave the root.
"""

import codecs
import json
import os
import types
import unicodedata

import numpy as np
import photo_files
import pytest
import seg_files

from data_pipeline import DataError, load_domains
from data_pipeline.check.check_data import check
from data_pipeline.classification.folder import read_domains, read_folder
from data_pipeline.classification.list_files import left_out_of, read_list
from data_pipeline.errors import printable
from data_pipeline.files.names import check_below, data_root, find_below, near_miss
from data_pipeline.files.text_files import read_text
from data_pipeline.segmentation import pseudo_label_files
from data_pipeline.segmentation.class_csv import read_classes
from data_pipeline.segmentation.readers import read_domain

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
LATIN = os.fsdecode(b"caf\xe9")
MARK = codecs.BOM_UTF8
IDS = np.array([[7, 8, 11, 0], [23, 26, 33, 3]])


def opened(dataset, root, source, target, **settings):
    splits = dict(
        source_split="train", target_split="train", evaluation_split="test", download=False
    )
    return load_domains(
        types.SimpleNamespace(
            dataset=dataset, root=str(root), source=source, target=target, **splits | settings
        )
    )


def two_domains(root, *classes):
    photo_files.write_images(
        root,
        *(f"{domain}/{name}/{i}.jpg" for domain in ("a", "b") for name in classes for i in (1, 2)),
    )


def report(*domains):
    lines, is_ok = check(domains, lambda done, total: None)
    assert all(line.isprintable() for line in lines)
    return lines, is_ok


def test_what_is_not_printable_is_escaped_and_the_rest_is_not():
    assert printable("a b/é.jpg") == "a b/é.jpg"
    assert printable(f"{LATIN}.jpg") == "caf\\xe9.jpg"
    assert printable("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"
    assert str(DataError(f"{LATIN}\n: gone")) == "caf\\xe9\\n: gone"
    assert str(DataError(f"no domain {LATIN!r}")) == "no domain 'caf\\xe9'"


def test_a_file_name_that_is_no_utf8_can_be_listed_hashed_printed_and_labelled(tmp_path):
    two_domains(tmp_path, "mug", "pen")
    os.rename(tmp_path / "a/mug/1.jpg", tmp_path / f"a/mug/{LATIN}\n.jpg")
    plain = read_folder(tmp_path, "b")
    images = read_folder(tmp_path, "a")
    assert images.fingerprint() != plain.fingerprint() and images.read(1).shape == (6, 8, 3)
    (tmp_path / f"a/mug/{LATIN}\n.jpg").write_bytes(b"broken")
    lines, is_ok = report(("source", read_folder(tmp_path, "a")))
    assert not is_ok and any("a/mug/caf\\xe9\\n.jpg: cannot be decoded" in line for line in lines)


def test_the_fingerprint_of_ordinary_names_is_the_crc_of_their_utf8():
    import zlib

    from data_pipeline import ImageSet

    images = ImageSet("x", ("é",), paths=("r/é/1.jpg", "r/é/2.jpg"))
    assert images.fingerprint() == zlib.crc32("x\né\n1.jpg\n2.jpg".encode())


def test_a_class_folder_that_is_no_utf8_gives_a_class_that_json_takes(tmp_path):
    two_domains(tmp_path, LATIN, "pen")
    (source,), target = read_domains(tmp_path, ("a",), "b")
    assert source.class_names == target.class_names == ("caf\\xe9", "pen") and source.read(
        0
    ).shape == (6, 8, 3)
    assert json.dumps(source.class_names, ensure_ascii=False).encode("utf-8")
    (tmp_path / "category.txt").write_bytes(b"pen\r\ncaf\xe9\r\n")
    assert read_folder(tmp_path, "a").class_names == ("pen", "caf\\xe9")


def test_pseudo_labels_of_images_whose_names_are_no_utf8_are_written_and_read(tmp_path):
    seg_files.write_gta5(tmp_path, {LATIN: IDS, "2": IDS})
    images = read_domain(dict(dataset="scenes_source", root=str(tmp_path)))
    labels = [np.full((2, 4), k, np.uint8) for k in (3, 5)]
    made = pseudo_label_files.write(tmp_path / "made", images, labels, origin={"rule": "x"})
    found = pseudo_label_files.read(tmp_path / "made", images)
    assert made.fingerprint() == found.fingerprint()
    by_name = {
        os.path.basename(path): int(found.read_label(i)[0, 0])
        for i, path in enumerate(found.label_paths)
    }
    order = [os.path.basename(path) for path in images.image_paths]
    assert by_name == {order[0]: 3, order[1]: 5} and f"{LATIN}.png" in by_name
    lines, is_ok = report(("source", dict(dataset="scenes_source", root=str(tmp_path))))
    assert is_ok and lines[0].endswith("2 images, 2 labels")


@pytest.mark.parametrize("first, second", [(NFC, NFD), (NFD, NFC)])
def test_a_class_in_two_unicode_forms_is_one_class(tmp_path, first, second):
    photo_files.write_images(
        tmp_path, f"a/{first}/1.jpg", "a/pen/1.jpg", f"b/{second}/1.jpg", "b/pen/1.jpg"
    )
    (source,), target = read_domains(tmp_path, ("a",), "b")
    assert source.class_names == target.class_names == (NFC, "pen")
    assert os.path.isfile(source.paths[0]) and os.path.isfile(target.paths[0])
    (tmp_path / "category.txt").write_text(f"pen\n{second}\n", encoding="utf-8")
    np.testing.assert_array_equal(read_folder(tmp_path, "a").labels, [0, 1])
    photo_files.write_images(tmp_path, f"a/{second}/1.jpg")
    with pytest.raises(
        DataError,
        match="a: two folders of class 'café', whose names differ in their Unicode form only",
    ):
        read_folder(tmp_path, "a")


def test_a_domain_is_found_in_either_unicode_form(tmp_path):
    photo_files.write_images(tmp_path, f"{NFD}/mug/1.jpg", "b/mug/1.jpg")
    assert len(read_folder(tmp_path, NFC)) == 1
    with pytest.raises(DataError, match=r"no domain 'B' \(there is 'b': another case\)"):
        read_folder(tmp_path, "B")


def test_classes_that_differ_in_case_or_blanks_are_named_together(tmp_path):
    photo_files.write_images(tmp_path, "a/Bar/1.jpg", "b/bar/1.jpg")
    with pytest.raises(
        DataError,
        match=r"class 'Bar' is in domain 'a' and not in 'b' \(there is 'bar': another case\)",
    ):
        read_domains(tmp_path, ("a",), "b")
    (tmp_path / "a/Bar").rename(tmp_path / "a/back pack")
    (tmp_path / "category.txt").write_text("back_pack\n")
    with pytest.raises(
        DataError,
        match=(
            r"class folder 'back pack' is not in .*category.txt \(there is 'back_pack': other "
            r"spaces"
        ),
    ):
        read_folder(tmp_path, "a")
    assert (
        near_miss("bar", ["row", "BAR"]) == "BAR"
        and near_miss("bar", ["row"]) is None
        and near_miss("--", ["_"]) is None
    )


def test_a_list_of_classes_under_another_name_is_not_passed_over(tmp_path):
    two_domains(tmp_path, "mug", "pen")
    (tmp_path / "Category.txt").write_text("pen\nmug\n")
    with pytest.raises(
        DataError, match="Category.txt: is not read under this name; rename it to category.txt"
    ):
        read_folder(tmp_path, "a")


def test_images_and_labels_in_two_unicode_forms_are_pairs_and_a_near_miss_is_named(tmp_path):
    seg_files.write_image(tmp_path / f"images/{NFD}.png", IDS.shape)
    seg_files.write_palette(tmp_path / f"labels/{NFC}.png", IDS)
    found = read_domain(dict(dataset="scenes_source", root=str(tmp_path)))
    assert len(found) == 1 and found.read_label(0).shape == IDS.shape
    (tmp_path / f"labels/{NFC}.png").rename(tmp_path / "labels/CAFÉ.png")
    with pytest.raises(
        DataError, match=r"an image without label; .* \(there is 'CAFÉ': another case\)"
    ):
        read_domain(dict(dataset="scenes_source", root=str(tmp_path)))


def test_lists_and_the_disk_may_have_two_unicode_forms_and_two_lists_too(tmp_path):
    photo_files.write_images(
        tmp_path, f"clipart/{NFD}/1.jpg", "real/ant/1.jpg", f"real/{NFC}/2.jpg"
    )
    (tmp_path / "clipart_train.txt").write_text(f"clipart/{NFC}/1.jpg 1\n", encoding="utf-8")
    for split in ("train", "test"):
        (tmp_path / f"real_{split}.txt").write_text(
            f"real/ant/1.jpg 0\nreal/{NFD}/2.jpg 1\n", encoding="utf-8"
        )
    found = opened("domainnet", tmp_path, "clipart", "real")
    assert found.target.class_names == ("ant", NFC)
    assert found.sources[0].read(0).shape == found.target.read(1).shape == (6, 8, 3)
    assert left_out_of(found.target) == ()


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path, ends):
    photo_files.write_domainnet(tmp_path)
    lists = {path: path.read_text() for path in tmp_path.glob("*.txt")}
    before = opened("domainnet", tmp_path, "clipart", "real")
    for path, text in lists.items():
        path.write_bytes(MARK + text.replace("\n", ends).encode())
    after = opened("domainnet", tmp_path, "clipart", "real")
    for old, new in zip((*before.sources, *before[1:]), (*after.sources, *after[1:]), strict=True):
        assert old.paths == new.paths and old.class_names == new.class_names
        np.testing.assert_array_equal(old.labels, new.labels)

    two_domains(tmp_path, "mug", "pen")
    (tmp_path / "category.txt").write_bytes(MARK + f"pen{ends}mug{ends}".encode())
    assert read_folder(tmp_path, "a").class_names == ("pen", "mug")

    (tmp_path / "classes.csv").write_bytes(
        MARK + f"id,name,train_id,r,g,b{ends}3,road,0,1,2,3{ends}".encode()
    )
    assert read_classes(tmp_path / "classes.csv").class_names == ("road",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "read", [read_list, read_classes, lambda path: read_folder(path.parent, "a")]
)
def test_utf16_and_utf32_are_named_in_one_line(tmp_path, encoding, read):
    two_domains(tmp_path, "mug")
    (tmp_path / "category.txt").write_bytes("mug\n".encode(encoding))
    with pytest.raises(DataError, match="category.txt: is no text.*save it as UTF-8") as caught:
        read(tmp_path / "category.txt")
    assert str(caught.value).isprintable()


def test_a_table_in_another_encoding_is_named_with_its_line(tmp_path):
    (tmp_path / "classes.csv").write_bytes(b"id,name,train_id,r,g,b\n1,for\xeat,0,1,2,3\n")
    with pytest.raises(
        DataError,
        match=(
            "classes.csv: line 2 is no UTF-8 .byte 0xea.; expected a CSV file .*save the file as "
            "UTF-8"
        ),
    ):
        read_classes(tmp_path / "classes.csv")
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        read_text(tmp_path / "nowhere", "text")
    (tmp_path / "classes.csv").write_text("id;name;train_id;r;g;b\n1;a;0;1;2;3\n")
    with pytest.raises(
        DataError, match="no column 'id'; found id;name;train_id;r;g;b; .*separated by commas"
    ):
        read_classes(tmp_path / "classes.csv")


def test_a_tilde_is_expanded_in_every_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photo_files.write_domainnet(tmp_path / "net")
    photo_files.write_visda2017(tmp_path / "visda")
    photo_files.write_office31(tmp_path / "office")
    two_domains(tmp_path / "photos", "mug")
    (tmp_path / "photos/category.txt").write_text("mug\n")
    for dataset, folder, source, target in (
        ("domainnet", "net", "clipart", "real"),
        ("visda2017", "visda", "train", "validation"),
        ("office31", "office", "dslr", "amazon"),
        ("folder", "photos", "a", "b"),
    ):
        found = opened(dataset, f"~/{folder}", source, target)
        assert all(
            os.path.isfile(path) for images in (*found.sources, *found[1:]) for path in images.paths
        ), dataset
        assert report(("source", found.sources[0]))[0]
        left_out_of(found.target)
    with pytest.raises(DataError, match=f"not prepared in {tmp_path}/made"):
        opened("tfds", "~/made", "mnist", "mnist")
    seg_files.write_gta5(tmp_path / "own", {"1": IDS})
    rows = [f"{i},n{i},{0 if i == 7 else -1},{i},0,0" for i in range(34)]
    seg_files.write_classes(tmp_path / "own", *rows)
    assert len(read_domain(dict(dataset="scenes_source", root="~/own"))) == 1
    assert read_domain(
        dict(dataset="own", root="~/own", classes="~/own/classes.csv")
    ).class_names == ("n7",)
    with pytest.raises(
        DataError, match="~nobody-of-that-name/x: no such folder; set config.data.source.root"
    ):
        read_domain(dict(dataset="gta5", root="~nobody-of-that-name/x"), "config.data.source")
    with pytest.raises(DataError, match="config.data.root is empty"):
        data_root("")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: is no folder; set config.data.root"):
        data_root(tmp_path / "file")


@pytest.mark.parametrize(
    "entry", ["../secret.jpg", "/etc/passwd", "clipart/../../x.jpg", "clipart/ant/.."]
)
@pytest.mark.parametrize("class_id", [" 0", ""])
def test_a_list_that_leaves_its_root_is_refused_by_line(tmp_path, entry, class_id):
    path = tmp_path / "list.txt"
    photo_files.write_list(path, f"clipart/ant/1.jpg{class_id}", f"{entry}{class_id}")
    with pytest.raises(
        DataError, match=f"list.txt: line 2 names '{entry}'; expected a path below the root"
    ) as caught:
        read_list(path)
    assert str(caught.value).isprintable()
    photo_files.write_list(path, f"clipart/a..nt/..1.jpg{class_id}")
    assert read_list(path).entries == ["clipart/a..nt/..1.jpg"], "dots in a name lead nowhere"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a/.."])
def test_a_domain_that_leaves_the_root_is_refused(tmp_path, name):
    two_domains(tmp_path / "in", "mug")
    two_domains(tmp_path, "mug")
    (tmp_path / "a").rename(tmp_path / "x")
    for source, target, key in ((name, "a", "source"), ("a", name, "target")):
        with pytest.raises(
            DataError, match=f"config.data.{key} names '{name}'; expected a path below the root"
        ):
            opened("folder", tmp_path / "in", source, target)
    with pytest.raises(DataError, match="expected a path below the root"):
        read_folder(tmp_path / "in", name)
    with pytest.raises(DataError, match=f"config.data.split names '{name}'"):
        read_domain(dict(dataset="cityscapes", root=str(tmp_path), space="cityscapes", split=name))
    with pytest.raises(DataError, match="no domain '.'"):
        read_folder(tmp_path / "in", ".")
    with pytest.raises(DataError, match="config.data.source names 'mnist/..'"):
        opened("tfds", tmp_path, "mnist/..", "mnist")


def test_a_link_within_the_root_is_followed(tmp_path):
    """What a user links there is meant; only what a text file or an argument says is kept below the
    root.
    """
    two_domains(tmp_path / "elsewhere", "mug")
    (tmp_path / "root").mkdir()
    for domain in ("a", "b"):
        (tmp_path / "root" / domain).symlink_to(tmp_path / "elsewhere" / domain)
    assert len(read_domains(tmp_path / "root", ("a",), "b")[1]) == 2


def test_paths_below_are_found_or_not(tmp_path):
    (tmp_path / NFD).mkdir()
    (tmp_path / NFD / "1.jpg").write_text("")
    assert find_below(tmp_path, f"{NFC}/1.jpg") == f"{tmp_path}/{NFD}/1.jpg"
    assert find_below(tmp_path, f"{NFC}/2.jpg") is None and find_below(tmp_path, "nowhere") is None
    check_below("a/b..c", "x")
    with pytest.raises(DataError, match="x names"):
        check_below("a\0b", "x")
