"""Labels of many sizes: the network is compiled once, and each label is judged at its own size."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from dajax.errors import UserError
from dajax.methods import pseudo_labels
from dajax.models.deeplab import SegOutput
from dajax.ops.resize import interpolations, resize_bilinear, resize_into
from dajax.recipes import clan
from dajax.state import TrainState
from dajax.tasks.feed import NEVER
from dajax.tasks.segmentation import setup
from dajax.tasks.segmentation.evaluate import Protocol, evaluate_segmenter
from dajax.trained import TrainedSegmenter
from data_pipeline.segmentation import label_sizes

SIZES = ((20, 30), (41, 33), (33, 41), (20, 30), (64, 48), (25, 70), (47, 31))  # on disk
INPUT = "32x48"
TRACES = []


class Colours(nn.Module):
    """The scores of three classes are the colours of every other pixel."""

    num_classes: int = 3
    network: ClassVar[str] = "segmenter"
    align_corners: ClassVar[bool] = True

    @nn.compact
    def __call__(self, images, mode):
        TRACES.append(images.shape)
        scale = self.param("scale", nn.initializers.ones, (1,))
        scores = images[:, ::2, ::2] * scale[0]
        return SegOutput(features=scores, logits=scores / 40.0, aux_logits=None)

    def prediction_logits(self, output):
        return output.logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images and labels of SIZES, as variant own reads them."""
    root, rng = tmp_path_factory.mktemp("sizes"), np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    rows = [f"{k},class{k},{k},{k},{k},{k}" for k in range(3)]
    (root / "classes.csv").write_text("\n".join(["id,name,train_id,r,g,b", *rows]) + "\n")
    for i, hw in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (*hw, 3), np.uint8)).save(root / f"images/{i}.png")
        Image.fromarray(rng.integers(0, 3, hw, np.uint8)).save(root / f"labels/{i}.png")
    return root


def config_of(folder, **window):
    arg = f"own,source={folder},target={folder},evaluation={folder},classes=classes.csv"
    config = clan.get_config(f"{arg},size={INPUT}")
    config.evaluation.window.update(window)
    return config


def feed_of(folder, tmp_path, num_devices=1, **window):
    config = config_of(folder, **window)
    return setup.make_feed(
        setup.open_data(config),
        config,
        config.stages[0],
        directory=tmp_path,
        devices=jax.devices()[:num_devices],
        stop=NEVER,
    )


STATE = TrainState.create(
    params={"segmenter": {"scale": jnp.ones(1)}}, batch_stats={"segmenter": {}}, opt_state={}
)
VARIABLES = {"params": STATE.params, "batch_stats": STATE.batch_stats}


def confusion(folder, tmp_path, batch_size, num_devices=1, align_corners=False, **window):
    feed = feed_of(folder, tmp_path, num_devices, **window)
    report, pictures = evaluate_segmenter(
        VARIABLES,
        data=feed,
        model=Colours(),
        protocol=Protocol(0, align_corners=align_corners, window=feed.window),
        batch_size=batch_size,
        subsets={},
        num_pictures=2,
    )
    shapes = {name: picture.shape for name, picture in pictures.items()}
    assert shapes == {"0000": (171, 1030, 3), "0001": (318, 1030, 3)}
    return np.array(report["confusion"])


def test_the_network_is_compiled_once_whatever_the_sizes_of_labels(folder, tmp_path):
    TRACES.clear()
    once = confusion(folder, tmp_path, batch_size=2)
    assert TRACES == [(2, 32, 48, 3)]
    assert once.sum() == sum(height * width for height, width in SIZES), "every pixel once"
    for number, size, devices in ((1, 1, 1), (2, 4, 1), (3, 4, 4)):
        again = confusion(folder, tmp_path, batch_size=size, num_devices=devices)
        np.testing.assert_array_equal(again, once)
        assert len(TRACES) == 1 + number, "a trace for each number of rows of a device"


@pytest.mark.parametrize("align_corners", [True, False])
def test_each_label_is_judged_at_its_own_size(folder, tmp_path, align_corners):
    expected = np.zeros((3, 3), int)
    feed = feed_of(folder, tmp_path)
    for batch in feed.evaluation_images(1):
        hw = tuple(batch["size_hw"][0].tolist())
        scores = jnp.asarray(batch["image"][:, ::2, ::2]) / 40.0
        made = resize_bilinear(scores, hw, align_corners=align_corners)[0].argmax(-1)
        label = np.asarray(Image.open(folder / f"labels/{batch['index'][0]}.png"))
        assert hw == label.shape == SIZES[batch["index"][0]]
        np.add.at(expected, (label, np.asarray(made)), 1)
    found = confusion(folder, tmp_path, batch_size=3, align_corners=align_corners)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "rule",
    [
        rule if rule == "top" else pytest.param(rule, marks=pytest.mark.slow)
        for rule in pseudo_labels.RULES
    ],
)
def test_pseudo_labels_of_all_sizes_come_from_one_compilation(folder, tmp_path, rule):
    unread = dict(never=(), reestimate_batches=0, statistics="running", target_bn=0)
    settings = dict(rule=rule, keep_every=5, share=0.1, image_share=0.2, proportion=0.5, cap=0.9)
    made = {}
    for batch_size, num_devices in ((1, 1), (3, 1), (4, 4)):
        feed, written = feed_of(folder, tmp_path, num_devices), []
        feed.write_pseudo_labels = lambda labels, origin, to=written: to.extend(labels)
        config = ConfigDict(unread | settings | {"batch_size": batch_size})
        TRACES.clear()
        pseudo_labels.refresh(STATE, data=feed, config=config, model=Colours())
        assert len(TRACES) <= 1, "both passes and every size share one compilation"
        assert [(row, label.shape) for row, label in written] == list(enumerate(SIZES))
        made[batch_size] = [label for _, label in written]
    assert 0.05 < np.mean(np.concatenate([label.ravel() for _, label in written]) < 3) < 0.95
    for others in (made[3], made[4]):
        for one, other in zip(made[1], others, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_map_resized_into_a_corner_is_the_map_resized():
    """Within float32's rounding, with room to spare and without."""
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.normal(0.0, 3.0, (2, 9, 13, 5)), jnp.float32)
    sizes = np.array([(20, 31), (33, 17)])
    made = interpolations((9, 13), sizes, (64, 32), align_corners=True)
    for row, (height, width) in enumerate(sizes.tolist()):
        matrices = (made[name][row] for name in ("along_height", "along_width"))
        resized = np.array(resize_into(scores[row], *matrices))
        exact = resize_bilinear(scores[row : row + 1], (height, width))[0]
        np.testing.assert_allclose(resized[:height, :width], exact, atol=4e-6)
        resized[:height, :width] = 0.0
        assert not resized.any()
        fitting = interpolations((9, 13), sizes[row : row + 1], (height, width))
        fitted = resize_into(scores[row], *(matrix[0] for matrix in fitting.values()))
        np.testing.assert_allclose(fitted, exact, atol=4e-6)


def test_room_is_rounded_only_where_sizes_differ():
    sizes = np.array([(97, 131)] * 5)
    plans = list(label_sizes.plan_of(sizes, 2))
    assert [plan.rows.tolist() for plan in plans] == [[0, 1], [2, 3], [4, -1]]
    assert {plan.room_hw for plan in plans} == {(97, 131)}
    plans = list(label_sizes.plan_of(np.array(SIZES), 3))
    assert [plan.rows.tolist() for plan in plans] == [[0, 1, 2], [3, 4, 5], [6, -1, -1]]
    assert [plan.room_hw for plan in plans] == [(64, 64), (64, 96), (64, 32)]


def test_a_side_grows_by_an_eighth_at_most_and_takes_few_lengths():
    sides = np.arange(256, 9000)
    rooms = np.array([label_sizes.rounded_up(side) for side in sides])
    assert (rooms >= sides).all() and (rooms <= sides * 1.125).all()
    assert len(set(rooms)) <= 8 * 6
    assert label_sizes.rounded_up(1) == 32 and label_sizes.rounded_up(1024) == 1024


def test_large_labels_among_small_ones_do_not_fill_a_batch():
    """Four labels with room for 40 megapixels would take 640 MiB: the large one goes alone."""
    sizes = np.array([(100, 100)] * 3 + [(5000, 8000)] + [(100, 100)] * 3)
    plans = list(label_sizes.plan_of(sizes, 4))
    assert [row for plan in plans for row in plan.rows if row >= 0] == list(range(7))
    assert [plan.rows.tolist() for plan in plans] == [
        [0, 1, 2, -1],
        [3, -1, -1, -1],
        [4, 5, 6, -1],
    ]


WINDOW = dict(crop=(16, 24), stride=(16, 12))  # one and two thirds of the input are 2 x 3 windows


def test_windows_are_those_of_the_evaluation_in_predict_and_pseudo_labels(folder, tmp_path):
    """The classes of dajax.load's predict, counted by hand, are the evaluation's; of pseudo-labels
    that give every pixel its class, too; and the network is compiled once for all windows.
    """
    TRACES.clear()
    by_windows = confusion(folder, tmp_path, batch_size=2, align_corners=True, **WINDOW)
    assert {shape for shape in TRACES} == {(2, 16, 24, 3)}, "every window, and no whole image"
    again = confusion(folder, tmp_path, 4, num_devices=4, align_corners=True, **WINDOW)
    np.testing.assert_array_equal(again, by_windows)
    whole = confusion(folder, tmp_path, batch_size=2, align_corners=True)
    assert (by_windows != whole).any()

    config = config_of(folder, **WINDOW)
    transforms = setup.open_data(config).transforms
    trained = TrainedSegmenter(
        config=config,
        stage=config.stages[0],
        step=0,
        class_names=("class0", "class1", "class2"),
        image_shape=(32, 48, 3),
        params=STATE.params,
        batch_stats=STATE.batch_stats,
        extra={},
        model=Colours(),
        transform=transforms["evaluation"],
        results=None,
        metrics=[],
    )
    pictures = [folder / f"images/{i}.png" for i in range(len(SIZES))]
    labels = [np.asarray(Image.open(folder / f"labels/{i}.png")) for i in range(len(SIZES))]

    def counted(maps):
        counts = np.zeros((3, 3), int)
        for label, classes in zip(labels, maps, strict=True):
            np.add.at(counts, (label, classes), 1)
        return counts

    np.testing.assert_array_equal(counted(trained.predict(pictures, batch_size=3)), by_windows)
    with pytest.raises(UserError, match="aggregation_alpha=0.5 aggregates over a whole image"):
        trained.predict(pictures, aggregation_alpha=0.5)

    feed, written = feed_of(folder, tmp_path, **WINDOW), []
    feed.write_pseudo_labels = lambda labels, origin: written.extend(labels)
    settings = dict(
        rule="quantile", statistics="running", proportion=0.0, cap=0.0, target_bn=0, batch_size=3
    )
    pseudo_labels.refresh(STATE, data=feed, config=ConfigDict(settings), model=Colours())
    np.testing.assert_array_equal(counted(label for _, label in written), by_windows)


def test_one_window_of_the_inputs_size_is_mmsegmentations_two_resizes(folder, tmp_path):
    """Scores to the size of the input, and from there to the label's (DAFormer)."""
    expected = np.zeros((3, 3), int)
    for batch in feed_of(folder, tmp_path).evaluation(1):
        hw = tuple(batch["size_hw"][0].tolist())
        scores = jnp.asarray(batch["image"][:, ::2, ::2]) / 40.0
        at_input = resize_bilinear(scores, (32, 48), align_corners=True)
        made = resize_bilinear(at_input, hw, align_corners=True)[0].argmax(-1)
        np.add.at(expected, (batch["label"][0, : hw[0], : hw[1]], np.asarray(made)), 1)
    once = dict(crop=(32, 48), stride=(32, 48))
    found = confusion(folder, tmp_path, batch_size=3, align_corners=True, **once)
    np.testing.assert_array_equal(found, expected)


def test_the_protocol_of_a_run_tells_its_windows(folder):
    config = config_of(folder, **WINDOW)
    (line,) = [
        line
        for line in setup.describe(config, setup.open_data(config))
        if line.startswith("protocol")
    ]
    assert (
        "32x48 (height x width) through windows of 16x24 every 16x12 pixels, whose logits" in line
    )
