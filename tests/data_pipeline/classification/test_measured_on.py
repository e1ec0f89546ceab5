"""What a run measures on: the target, another domain, or a share of the target that is held out."""

import types

import numpy as np
import pytest
import recipes
from photo_files import write_images

from dajax import tasks
from dajax.tasks.feed import NEVER
from data_pipeline import DataError, load_domains
from data_pipeline.classification import held_out
from data_pipeline.classification.image_set import ImageSet

CLASSES = ("mug", "pen")


@pytest.fixture
def root(tmp_path):
    for domain in "abc":
        for name in CLASSES:
            write_images(tmp_path, *(f"{domain}/{name}/{i}.jpg" for i in range(10)))
    write_images(tmp_path, "plain/1.jpg")
    return tmp_path


def config_of(root, **keys):
    named = dict(root=root, source="a", target="b", size=16) | keys
    items = [f"{key}={value}" for key, value in named.items()]
    return recipes.get_config("can", ",".join(["folder", *items]))


def opened(root, **keys):
    return load_domains(config_of(root, **keys).data)


def test_without_a_word_the_target_is_measured_on(root):
    found = opened(root)
    assert found.evaluation is found.target and len(found.target) == 20
    bare = types.SimpleNamespace(dataset="folder", root=root, source="a", target="b")
    assert load_domains(bare).evaluation.paths == found.evaluation.paths, "the keys may be absent"


def test_another_domain_is_measured_on_and_the_target_adapted_to(root):
    found = opened(root, evaluation="c")
    assert (found.target.name, found.evaluation.name) == ("b", "c")
    assert found.evaluation.has_labels and found.evaluation.class_names == CLASSES


def test_a_held_out_share_is_apart_from_what_is_adapted_to(root):
    found, whole = opened(root, held_out=0.2), opened(root).target
    assert len(found.evaluation) == 4 and len(found.target) == 16
    assert sorted(found.target.paths + found.evaluation.paths) == sorted(whole.paths)
    assert (found.target.name, found.evaluation.name) == ("b", "b (held out)")
    label_of = dict(zip(whole.paths, whole.labels, strict=True))
    for part in (found.target, found.evaluation):
        assert [label_of[path] for path in part.paths] == part.labels.tolist()


def test_which_images_are_held_out_depends_on_the_seed_and_on_no_label(root):
    first = opened(root, held_out=0.25).evaluation.paths
    assert opened(root, held_out=0.25).evaluation.paths == first
    config = config_of(root, held_out=0.25)
    config.data.held_out_seed = 1
    assert load_domains(config.data).evaluation.paths != first
    for path in (root / "b" / "mug").iterdir():  # the same files, all of the other class
        path.rename(root / "b" / "pen" / f"mug{path.name}")
    (root / "b" / "mug" / "left.jpg").write_bytes((root / "b" / "pen" / "1.jpg").read_bytes())
    (root / "b" / "pen" / "1.jpg").unlink()
    moved, rows = load_domains(config_of(root, held_out=0.25).data), []
    whole = opened(root).target.paths
    rows = [whole.index(path) for path in moved.evaluation.paths]
    names = [str(root / "b" / name / f"{i}.jpg") for name in CLASSES for i in range(10)]
    assert rows == [names.index(path) for path in first]


@pytest.mark.parametrize(
    "keys, message",
    [
        (dict(evaluation="d"), "no domain 'd'"),
        (dict(evaluation="plain"), "evaluation='plain': this domain has no labels to measure with"),
        (dict(target="plain", held_out=0.5), "held_out=0.5: plain has no labels to measure with"),
        (dict(held_out=0.01), "held_out=0.01: 0 of the 20 images of b; expected at least one"),
        (dict(held_out=0.99), "held_out=0.99: 20 of the 20 images of b"),
        (dict(evaluation="../x"), "config.data.evaluation names '../x'"),
    ],
)
def test_what_cannot_be_measured_on_is_one_line(root, keys, message):
    with pytest.raises(DataError) as error:
        opened(root, **keys)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_domain_of_other_classes_is_named_with_the_class(root):
    write_images(root, "c/cup/1.jpg")
    with pytest.raises(DataError, match="'cup' is not in the classes of domain 'a'"):
        opened(root, evaluation="c")


def test_the_head_of_a_run_says_which_images_are_measured_on(root):
    task, config = tasks.get("classification"), config_of(root, held_out=0.2)
    domains = task.open_data(config)
    text = "\n".join(task.describe(config, domains))
    assert "evaluation: b (held out), 4 images" in text
    assert "held out: 4 of the 20 images of b are measured on and not adapted to" in text
    assert domains.evaluation.paths[0] in text
    config = config_of(root, evaluation="a", target="b")
    text = "\n".join(task.describe(config, task.open_data(config)))
    assert "note: a is source and evaluation: its labels are trained on" in text
    assert "held out" not in text


def test_the_feed_adapts_to_the_rest_and_measures_on_what_is_held_out(root):
    import jax

    task, config = tasks.get("classification"), config_of(root, held_out=0.2)
    domains = task.open_data(config)
    feed = task.make_feed(
        domains, config, "can", directory=None, devices=jax.devices()[:1], stop=NEVER
    )
    assert len(feed.sets["target"]) == 16 == len(feed.evaluation_labels)
    assert not feed.sets["target"].has_labels
    masks = [batch["mask"] for batch in feed.evaluation(3)]
    assert np.concatenate(masks).sum() == 4


def labelled(**kind):
    labels = np.array([0] * 10 + [1] * 4 + [0] * 10 + [2], np.int32)
    return ImageSet("set", ("a", "b", "c"), labels, **kind)


KINDS = {
    "paths": {"paths": tuple(f"{i}.jpg" for i in range(25))},
    "images": {"images": np.arange(25, dtype=np.uint8).reshape(25, 1, 1, 1)},
    "records": {"records": [b"%d" % i for i in range(25)]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_class_of_a_source_the_same_share_is_held_out(kind):
    """Of 20, 4 and 1 images a quarter: 5, 1 and none, each with its label."""
    whole = labelled(**KINDS[kind])
    kept, apart = held_out.split_source(whole, 0.25, "config.key")
    assert apart.class_counts().tolist() == [5, 1, 0] and len(kept) == 19
    number = {"paths": lambda x: int(x[:-4]), "images": lambda x: int(x.item()), "records": int}
    rows = [[number[kind](x) for x in getattr(part, kind)] for part in (kept, apart)]
    assert sorted(rows[0] + rows[1]) == list(range(25)) and rows[0] == sorted(rows[0])
    for part, found in zip((kept, apart), rows, strict=True):
        np.testing.assert_array_equal(part.labels, whole.labels[found])
    with pytest.raises(DataError, match=r"config.key=0.01: no class of set has enough images"):
        held_out.split_source(whole, 0.01, "config.key")
