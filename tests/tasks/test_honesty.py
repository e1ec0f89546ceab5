"""The target's labels reach no step: not as an object, not as a number. Only evaluation reads them,
and an oracle stage.
"""

import ast
import functools
import types

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.tasks.classification.feed import Feed
from dajax.tasks.common import Domains
from dajax.tasks.feed import NEVER
from dajax.tasks.segmentation import setup as segmentation
from dajax.tasks.segmentation.feed import SegFeed
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import Transform
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation import pseudo_label_files
from data_pipeline.segmentation import readers as seg_readers
from data_pipeline.segmentation import transforms as seg_transforms

# What a feed keeps of the target's labels, by the name under which it can be reached.
LABEL_DOORS = {
    "evaluation",
    "evaluation_labels",
    "has_evaluation_labels",
    "evaluation_image",
    "pseudo_label_pairs",
    "_evaluation_set",
    "_target",
    "_target_labels",
}
ENDS = (
    str,
    bytes,
    int,
    float,
    bool,
    complex,
    np.ndarray,
    np.generic,
    jax.Array,
    types.ModuleType,
    type,
)


def reachable(root):
    """Every object that code which holds `root` can get at through attributes, items, closures,
    defaults, bound methods and caches.
    """
    seen, waiting = {}, [root]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen[id(found)] = found
        if isinstance(found, ENDS):
            continue
        if isinstance(found, dict):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, (list, tuple, set, frozenset)):
            waiting += list(found)
        waiting += [cell.cell_contents for cell in getattr(found, "__closure__", None) or ()]
        waiting += list(getattr(found, "__defaults__", None) or ())
        waiting += list((getattr(found, "__kwdefaults__", None) or {}).values())
        waiting += [getattr(found, name, None) for name in ("__self__", "__func__", "__wrapped__")]
        if isinstance(found, functools.partial):
            waiting += [found.func, found.args, found.keywords]
        waiting.append(getattr(found, "__dict__", None))
        waiting += [getattr(found, name, None) for name in getattr(type(found), "__slots__", ())]
    return list(seen.values())


def holds_labels(root, labels):
    """Whether `labels` (an array, or names of files) can be reached from root."""
    if isinstance(labels, tuple):
        return not set(labels).isdisjoint(x for x in reachable(root) if isinstance(x, str))
    return any(
        isinstance(x, np.ndarray) and x.shape == labels.shape and (x == labels).all()
        for x in reachable(root)
    )


def images_of(domain, labels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    return ImageSet(domain, ("a", "b", "c"), np.asarray(labels, np.int32), pixels)


@pytest.fixture
def feed():
    """Two sources of 12 images each and 18 of the target, whose labels are a sequence that no other
    array here has.
    """
    target = images_of("target", [2, 0, 0, 1, 2, 1] * 3, seed=2)
    sources = tuple(images_of(f"source{i}", [0, 1, 2] * 4, seed=i) for i in (0, 1))
    view = Transform((8, 8), mean=(0.5,), std=(0.5,))
    made = Feed(
        sources,
        target,
        target,
        transforms={"train": view, "eval": view},
        seed=0,
        stage="can",
        devices=jax.devices()[:1],
    )
    return made, target.labels


SETTINGS = ConfigDict(
    dict(num_classes=2, source_per_class=2, target_per_class=2, max_share=1.0, update_fraction=1.0)
)


def train_parts(feed):
    """{name: Part} of everything that a classification method may ask for and train on."""
    sources, target = feed.class_aware(
        ("source0", "source1"),
        np.zeros(18, np.int32),
        np.ones(3, bool),
        SETTINGS,
        first_step=0,
        name="loop1",
    )
    shuffled = {name: feed.shuffled(name, 6) for name in ("source", "source0", "source1", "target")}
    return shuffled | {
        "class_source0": sources[0],
        "class_source1": sources[1],
        "class_target": target,
    }


def test_no_part_of_a_classification_step_leads_to_the_targets_labels(feed):
    feed, labels = feed
    assert holds_labels(feed, labels), "the walk finds what is there: evaluation needs them"
    assert holds_labels(feed.shuffled("source", 6), feed.sets["source"].labels)
    assert feed.sets["target"].labels is None
    for name, part in train_parts(feed).items():
        assert not holds_labels(part, labels), name
        assert part.with_labels == ("target" not in name), name


def test_no_batch_or_pass_of_the_target_has_labels(feed):
    feed, _ = feed
    parts = train_parts(feed)
    batch = next(feed.steps(parts, 0, 1))
    assert {name for name, part in batch.items() if "label" in part} == {
        name for name in parts if "target" not in name
    }
    for views in ("train", "eval"):
        seen = [set(batch) for batch in feed.sequence("target", 6, views=views, name="pass")]
        assert seen == [{"image", "mask", "index"}] * 3
    assert all(
        "label" in batch for batch in feed.sequence("source0", 6, views="train", name="pass")
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The root of a few scenes of 32 x 64."""
    root = tmp_path_factory.mktemp("honest") / "scenes"
    scenes.ensure(root, size_hw=(32, 64), counts=COUNTS)
    return root


COUNTS = {"source": 6, "target_train": 4, "target_val": 2}
VIEW = dict(
    size=(32, 64),
    resize="bilinear",
    image_scales=(),
    shorter_edge=None,
    scale_range=None,
    flip=False,
    color_jitter=None,
    channels="rgb",
    divisor=255.0,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


def seg_feed(root, directory, *, is_oracle=False):
    """(SegFeed, target SegmentationSet) of the stage `spcl`."""
    source = seg_readers.read_domain(dict(dataset="scenes_source", root=str(root / "source")))
    target, val = (
        seg_readers.read_domain(
            dict(dataset="scenes_target", root=str(root / "target"), split=split)
        )
        for split in ("train", "val")
    )
    view = seg_transforms.from_config(VIEW)
    domains = Domains(
        source,
        target,
        val,
        {"source": view, "target": view, "evaluation": view},
        (32, 64, 3),
        source.class_names,
    )
    made = SegFeed(
        domains,
        seed=0,
        stage="spcl",
        directory=directory / "spcl",
        devices=jax.devices()[:1],
        is_oracle=is_oracle,
    )
    return made, target, val


def write_pseudo_labels(target, directory):
    """Labels that are nobody's: frame i is class i, with a border that is ignored."""
    labels = [
        np.pad(np.full((30, 62), i, np.uint8), 1, constant_values=255) for i in range(len(target))
    ]
    pseudo_label_files.write(
        directory / "warm_up_labels" / "pseudo_labels",
        target.without_labels(),
        labels,
        origin={"rule": "test"},
    )
    return labels


def test_no_part_of_a_segmentation_step_leads_to_the_targets_labels(drawn, tmp_path):
    feed, target, val = seg_feed(drawn, tmp_path)
    write_pseudo_labels(target, tmp_path)
    rare = dict(temperature=1.0, min_pixels=0, min_crop_ratio=0.0)
    parts = {
        "source": feed.shuffled_with_labels("source", 2),
        "rare": feed.rare_classes("source", 2, rare),
        "marked": feed.shuffled("target", 2, margins=(0.1, 0.0, 0.0, 0.0)),
        "balanced": feed.class_balanced(2),
        "plain": feed.shuffled("source", 2),
        "target": feed.shuffled("target", 2),
        "pseudo": feed.with_pseudo_labels(2, "warm_up_labels"),
    }
    assert holds_labels(feed, target.label_paths) and holds_labels(feed, val.label_paths), (
        "evaluation needs them"
    )
    assert holds_labels(parts["source"], feed._labelled["source"].label_paths)
    assert feed.sets["target"].label_paths is None
    for name, part in parts.items():
        assert not holds_labels(part, target.label_paths) and not holds_labels(
            part, val.label_paths
        ), name
        assert part.with_labels == (name in ("source", "rare", "balanced", "pseudo")), name
    batch = next(feed.steps(parts, 0, 1))
    assert {name for name, part in batch.items() if "label" in part} == {
        "source",
        "rare",
        "balanced",
        "pseudo",
    }
    keys = {"image", "mask", "index", "size_hw", "room_hw"}
    assert all(set(batch) == keys for batch in feed.target_pass(2))


def test_training_on_the_targets_labels_is_refused_but_to_an_oracle(drawn, tmp_path):
    feed, target, _ = seg_feed(drawn, tmp_path)
    with pytest.raises(
        UserError, match="the labels of 'target' are not for training; only an oracle stage"
    ):
        feed.shuffled_with_labels("target", 2)
    oracle = seg_feed(drawn, tmp_path, is_oracle=True)[0]
    part = oracle.with_index(oracle.shuffled_with_labels("target", 2))
    batch = next(oracle.steps({"target": part}, 0, 1))["target"]
    for row, index in enumerate(batch["index"]):
        np.testing.assert_array_equal(batch["label"][row], target.read_label(index))
    assert (
        "label" not in next(oracle.steps({"target": oracle.shuffled("target", 2)}, 0, 1))["target"]
    )


@pytest.mark.parametrize(
    "method, domain, is_oracle",
    [
        ("source_only_seg", "target", True),
        ("source_only_seg", "source", False),
        ("self_training", "target", False),
        ("bicl", "target", False),
    ],
)
def test_only_supervised_training_on_the_target_is_an_oracle(
    drawn, tmp_path, method, domain, is_oracle
):
    made = {}
    domains = seg_feed(drawn, tmp_path)[0]
    opened = types.SimpleNamespace(
        source=domains._labelled["source"],
        target=domains._target,
        evaluation=domains._evaluation_set,
        transforms=domains._transforms,
        strong_view=None,
        class_names=domains.class_names,
        held_out=(),
    )
    whole = dict(crop=(), stride=(), average="logits")
    evaluation = dict(window=whole, align_corners=True, aggregation_alpha=0.0)
    stage = {"method": method, "domain": domain}
    transforms = {"evaluation": {"size": domains._transforms["evaluation"].size_hw}}
    config = ConfigDict(
        {"seed": 0, "stage": stage, "evaluation": evaluation, "data": {"transforms": transforms}}
    )
    made = segmentation.make_feed(
        opened,
        config,
        "stage",
        directory=tmp_path,
        devices=jax.devices()[:1],
        stop=NEVER,
    )
    assert ("target" in made._labelled) == is_oracle


def test_pseudo_labels_in_a_batch_are_the_files(drawn, tmp_path):
    feed, target, _ = seg_feed(drawn, tmp_path)
    labels, seen = write_pseudo_labels(target, tmp_path), set()
    part = feed.with_index(feed.with_pseudo_labels(2, "warm_up_labels"))
    for batch in feed.steps({"target": part}, 0, 2):
        for row, index in enumerate(batch["target"]["index"]):
            np.testing.assert_array_equal(batch["target"]["label"][row], labels[index])
            assert (batch["target"]["label"][row] != target.read_label(index)).any()
            seen.add(int(index))
    assert seen == set(range(len(labels)))


def test_methods_ask_a_feed_for_nothing_that_tells_the_targets_labels():
    """Figures about labels are made by the tasks, after the step; a method that asks for them by
    name is found here.
    """
    files = sorted((tiny.ROOT / "dajax" / "methods").rglob("*.py"))
    assert len(files) > 15
    for path in files:
        asked = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        assert asked.isdisjoint(LABEL_DOORS), (path.name, asked & LABEL_DOORS)


def test_every_row_of_a_mixed_batch_is_of_one_domain(drawn, tmp_path):
    """An epoch shows every target image once and the share of the source; the source's own labels
    and the target's pseudo-labels.
    """
    feed, target, _ = seg_feed(drawn, tmp_path)
    labels = write_pseudo_labels(target, tmp_path)
    source = feed.sets["source"]
    share = 2 / len(source)
    parts = feed.mixed_with_pseudo_labels(1, "warm_up_labels", "target", share)
    parts = {name: feed.with_index(part) for name, part in parts.items()}
    assert not any(holds_labels(part, target.label_paths) for part in parts.values())
    seen, count = [], len(target) + 2
    for batch in feed.steps(parts, 0, 2 * count):
        of_target = batch["target"]["mask"]
        np.testing.assert_array_equal(of_target, ~batch["source"]["mask"])
        name = "target" if of_target[0] else "source"
        index = int(batch[name]["index"][0])
        expected = labels[index] if of_target[0] else source.read_label(index)
        np.testing.assert_array_equal(batch[name]["label"][0], expected)
        other = batch["source" if of_target[0] else "target"]
        assert not other["image"].any() and (other["label"] == 255).all()
        seen.append((name, index))
    first, second = set(seen[:count]), set(seen[count:])
    assert first == second and len(first) == count
    assert sorted(index for name, index in first if name == "target") == list(range(len(target)))


def test_the_easy_half_has_labels_and_the_hard_half_has_none(drawn, tmp_path):
    feed, target, _ = seg_feed(drawn, tmp_path)
    labels = [np.full((32, 64), i % 3, np.uint8) for i in range(len(target))]
    entropies = [float((7 * i) % len(target)) for i in range(len(target))]
    folder = tmp_path / "advent_labels" / "pseudo_labels"
    unlabelled, origin = target.without_labels(), {"entropies": entropies}
    # frame i shows class i % 3; those of class 2 are favoured: 0.5 of their entropy, 1.5 of others
    origin["pixels"] = [[32 * 64 * (k == i % 3) for k in range(3)] for i in range(len(target))]
    pseudo_label_files.write(folder, unlabelled, labels, origin=origin)
    favoured = feed.easy_and_hard(1, "advent_labels", 0.67, [feed.class_names[2]])
    ranks = [e * (0.5 if i % 3 == 2 else 1.5) for i, e in enumerate(entropies)]
    rows = np.argsort(ranks, kind="stable")[: int(0.67 * len(target))]
    found = favoured["source"].image_set.image_paths
    assert found == tuple(target.image_paths[row] for row in rows)
    with pytest.raises(UserError, match="config.spcl.favoured: cow: no such class; known: "):
        feed.easy_and_hard(1, "advent_labels", 0.67, ["cow"])
    parts = feed.easy_and_hard(1, "advent_labels", 0.67)
    easy, hard = parts["source"].image_set, parts["target"].image_set
    order = np.argsort(entropies, kind="stable")
    count = int(0.67 * len(target))
    assert easy.image_paths == tuple(target.image_paths[row] for row in order[:count])
    assert hard.image_paths == tuple(target.image_paths[row] for row in order[count:])
    assert hard.label_paths is None and not holds_labels(easy, target.label_paths)
    for batch in feed.steps(parts, 0, 1):
        assert "label" in batch["source"] and "label" not in batch["target"]
    feed.check_easy_and_hard(0.67, [feed.class_names[2]])  # before there are labels
    with pytest.raises(UserError, match="config.spcl.favoured: cow: no such class; known: "):
        feed.check_easy_and_hard(0.67, ["cow"])
    for share in (0.0, 1.0):
        with pytest.raises(UserError, match=f"config.spcl.easy_share={share}: "):
            feed.easy_and_hard(1, "advent_labels", share)
        with pytest.raises(UserError, match=f"config.spcl.easy_share={share}: "):
            feed.check_easy_and_hard(share)
    write_pseudo_labels(target, tmp_path)
    with pytest.raises(UserError, match="have no entropies to rank the images by; "):
        feed.easy_and_hard(1, "warm_up_labels", 0.67)
