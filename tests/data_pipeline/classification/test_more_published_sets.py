"""Office-Home, PACS, ImageCLEF-DA and Digits-Five in their folders as downloaded, made up in
miniature; and the variants of the recipes that read them.
"""

import numpy as np
import photo_files
import pytest
import recipes
from PIL import Image
from scipy.io import loadmat, savemat

from dajax import tasks
from data_pipeline import DataError, load_domains
from data_pipeline.check.official import official_count
from data_pipeline.classification import digits_five, imageclef, officehome, pacs
from data_pipeline.classification.list_files import left_out_of
from data_pipeline.preprocess import resize

WRITE = {
    "officehome": photo_files.write_officehome,
    "pacs": photo_files.write_pacs,
    "imageclef": photo_files.write_imageclef,
    "digits_five": photo_files.write_digits_five,
}


def config_of(variant, root, recipe="can", **keys):
    keys = dict(root=root) | ({} if variant == "digits_five" else dict(weights="none")) | keys
    items = [f"{key}={value}" for key, value in keys.items()]
    return recipes.get_config(recipe, ",".join([variant, *items]))


def opened(variant, root, source, target, **keys):
    return load_domains(config_of(variant, root, source=source, target=target, **keys).data)


@pytest.mark.parametrize("variant", WRITE)
def test_a_recipe_opens_the_first_task_of_the_variant(variant, tmp_path):
    WRITE[variant](tmp_path)
    config = config_of(variant, tmp_path)
    task = tasks.get("classification")
    domains = task.open_data(config)
    assert not task.problems(config, domains) and domains.target.has_labels
    assert all(image.name.startswith(f"{variant}/") for image in domains.sources)
    text = "\n".join(task.describe(config, domains))
    assert f"note: {domains.target.name}: {len(domains.target)} images; expected" in text


def test_office_home_has_its_65_classes_under_either_name_of_its_last_domain(tmp_path):
    for name in ("Real World", "Real_World"):
        root = tmp_path / name
        photo_files.write_officehome(root, real_world=name)
        (art, real), product, _ = opened("officehome", root, "Art+Real_World", "Product")
        assert [images.name for images in (art, real)] == [
            "officehome/Art",
            "officehome/Real World",
        ]
        assert real.paths[0] == f"{root}/{name}/Alarm_Clock/00001.jpg"
        assert product.class_names == officehome.CLASS_NAMES == tuple(sorted(product.class_names))
        np.testing.assert_array_equal(product.labels, np.arange(65))
    names = [config_of("officehome", root, target=f"Real{x}World").name for x in "_ "]
    assert names[0] == names[1] == "can-officehome-Art-Real_World-random_weights"
    with pytest.raises(DataError, match="officehome has no domain 'art'; known: Art, Clipart"):
        opened("officehome", root, "art", "Product")


def test_pacs_has_its_7_classes_and_the_png_of_its_sketches(tmp_path):
    photo_files.write_pacs(tmp_path)
    (photo, cartoon), sketch, evaluation = opened("pacs", tmp_path, "photo+cartoon", "sketch")
    assert sketch.name == "pacs/sketch" and sketch is evaluation
    assert sketch.paths[0].endswith("sketch/dog/pic_001.png") and len(cartoon) == 7
    assert photo.class_names == pacs.CLASS_NAMES and photo.labels.tolist() == list(range(7))


@pytest.mark.parametrize("lists_in", ["list", ""])
def test_imageclef_is_read_by_its_lists_and_caltechs_without_their_folders(tmp_path, lists_in):
    photo_files.write_imageclef(tmp_path, lists_in=lists_in)
    photo_files.write_images(tmp_path, "c/more.jpg")
    (source,), target, _ = opened("imageclef", tmp_path, "i", "c")
    assert source.paths[2] == f"{tmp_path}/i/bird_1.JPEG"
    assert target.paths[2] == f"{tmp_path}/c/bird_1.JPEG"
    assert target.class_names == imageclef.CLASS_NAMES
    np.testing.assert_array_equal(target.labels, np.arange(12))
    assert left_out_of(target) == (("that the list does not name", (f"{tmp_path}/c/more.jpg",)),)


@pytest.mark.parametrize(
    "line, message",
    [
        ("i/bike_1.JPEG 12", "iList.txt: line 2: class id 12; expected 0..11"),
        ("p/bike_1.JPEG 1", "line 2 names 'p/bike_1.JPEG'; expected 'i/<file>'"),
    ],
)
def test_a_wrong_line_of_imageclefs_lists_is_named(tmp_path, line, message):
    photo_files.write_imageclef(tmp_path)
    path = tmp_path / "list" / "iList.txt"
    lines = path.read_text().splitlines()
    photo_files.write_list(path, lines[0], line, *lines[2:])
    with pytest.raises(DataError, match=message):
        opened("imageclef", tmp_path, "i", "p")
    path.rename(tmp_path / "list" / "ilist.txt")
    with pytest.raises(DataError, match="ilist.txt: is not read under this name; rename it to"):
        opened("imageclef", tmp_path, "i", "p")
    (tmp_path / "list" / "ilist.txt").unlink()
    with pytest.raises(DataError, match="no list/iList.txt and no iList.txt; expected the list"):
        opened("imageclef", tmp_path, "i", "p")


def test_digits_five_are_images_of_one_kind_from_five_kinds_of_files(tmp_path):
    photo_files.write_digits_five(tmp_path)
    sources, target, evaluation = opened("digits_five", tmp_path, "mnist+svhn+syn+usps", "mnistm")
    for images, split, count in (
        *((source, "train", 12) for source in sources),
        (target, "train", 12),
        (evaluation, "test", 6),
    ):
        assert images.images.shape == (count, 32, 32, 3) and images.images.dtype == np.uint8
        assert images.name.endswith(f"/{split}") and images.class_names == tuple("0123456789")
        assert images.labels.tolist() == [i % 10 for i in range(count)], images.name
    mnist, svhn, syn, usps = (source.images for source in sources)
    grey = loadmat(tmp_path / "mnist_data.mat")["train_32"]
    np.testing.assert_array_equal(mnist, np.repeat(grey[..., None], 3, axis=3))
    np.testing.assert_array_equal(
        svhn, loadmat(tmp_path / "svhn_train_32x32.mat")["X"].transpose(3, 0, 1, 2)
    )
    np.testing.assert_array_equal(syn, loadmat(tmp_path / "syn_number.mat")["train_data"])
    small = loadmat(tmp_path / "usps_28x28.mat")["dataset"][0, 0][3, 0]
    small = np.rint(small * 255).astype(np.uint8)[:, :, None]
    expected = resize(small, (32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(usps[3], np.repeat(expected, 3, axis=2))


def test_digits_five_draws_as_many_as_its_authors_and_always_the_same(tmp_path, monkeypatch):
    photo_files.write_digits_five(tmp_path, count=40)
    whole = opened("digits_five", tmp_path, "mnist", "syn")
    monkeypatch.setattr(digits_five, "MOST", {"train": 15, "test": 8})
    found, again = (opened("digits_five", tmp_path, "mnist", "syn") for _ in range(2))
    np.testing.assert_array_equal(found.evaluation.images, whole.evaluation.images[:8])
    np.testing.assert_array_equal(found.target.images, again.target.images)
    rows = [
        next(row for row, other in enumerate(whole.target.images) if (other == image).all())
        for image in found.target.images
    ]
    assert rows == sorted(set(rows)) and len(rows) == 15 and rows != list(range(15))
    np.testing.assert_array_equal(found.target.labels, whole.target.labels[rows])


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("syn_number.mat", b"nothing", "syn_number.mat: cannot be read: .*; download it again"),
        ("syn_number.mat", None, "syn_number.mat: no such file; put the files of M3SDA's download"),
        (
            "syn_number.mat",
            {"train_data": np.zeros((2, 32, 32, 3), np.uint8)},
            "syn_number.mat: has no variable 'train_label'",
        ),
        (
            "syn_number.mat",
            {"train_data": np.zeros((2, 32, 32, 3), np.uint8), "train_label": np.zeros((3, 1))},
            r"train_data is \[2, 32, 32, 3\], with 3 labels; expected an image for each",
        ),
        ("usps_28x28.mat", {"dataset": np.zeros((3, 1))}, r"dataset is \[3, 1\]; expected 2 x 2"),
    ],
)
def test_a_file_of_another_content_is_one_line(tmp_path, file, content, message):
    photo_files.write_digits_five(tmp_path)
    (tmp_path / file).unlink()
    if isinstance(content, dict):
        savemat(tmp_path / file, content)
    elif content is not None:
        (tmp_path / file).write_bytes(content)
    domain = "usps" if "usps" in file else "syn"
    with pytest.raises(DataError, match=message) as error:
        opened("digits_five", tmp_path, domain, "mnist")
    assert "\n" not in str(error.value)


def test_the_official_counts_are_those_of_the_sets_papers():
    for variant, domains, total in (
        ("officehome", officehome.DOMAINS, 15_588),
        ("pacs", pacs.DOMAINS, 9_991),
        ("imageclef", imageclef.DOMAINS, 2_400),
    ):
        assert sum(official_count(f"{variant}/{domain}") for domain in domains) == total
    assert (
        official_count("digits_five/usps/train") + official_count("digits_five/usps/test") == 9298
    )
    assert len(officehome.CLASS_NAMES) == len(set(officehome.CLASS_NAMES)) == 65


def test_digits_five_is_trained_as_the_embedded_digits_are(tmp_path):
    config = recipes.get_config("mscan", f"digits_five,root={tmp_path},affine=yes")
    digits = recipes.get_config("mscan", "digits")
    assert config.model == digits.model and config.source_only == digits.source_only
    assert config.data.source == "mnist+svhn+syn+usps" and config.data.target == "mnistm"
    assert config.data.transform.affine == digits.data.transform.affine
    assert config.name == "mscan-digits_five-others-mnistm-affine"
    plain = recipes.get_config("can", "digits_five")
    assert plain.data.transform.flip is False
    mirrored = recipes.get_config("can", "digits_five,flip=yes")
    assert mirrored.data.transform.flip is True and mirrored.name == f"{plain.name}-flip"
