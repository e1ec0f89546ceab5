"""What an evaluation hands to the figures that need no label of the target: every image once, no
padding, held-out images of the source and their errors, and each domain's own statistics.
"""

import types

import jax
import numpy as np
import pytest

from dajax.models.deeplab import SegOutput
from dajax.tasks.classification import selection as of_classifiers
from dajax.tasks.segmentation import selection as of_segmenters


@pytest.fixture
def weighed(monkeypatch):
    """{"source", "target", "held_out"}: the features that DEV's weights are made of, which are 2
    for every row here; the risk is then twice the mean of the errors.
    """
    seen = {}

    def ratios(source, target, held_out):
        seen.update(source=source, target=target, held_out=held_out)
        return np.full(len(held_out), 2.0)

    for module in (of_classifiers, of_segmenters):
        monkeypatch.setattr(module, "_ratios", ratios)
        monkeypatch.setattr(module, "_risk", lambda weights, errors: (weights * errors).mean())
    return seen


def classifier_output(logits):
    logits = np.asarray(logits, np.float32)
    return types.SimpleNamespace(logits=logits, features=logits)


def test_a_classifiers_figures_are_of_every_image_once_without_padding():
    """By hand: two sure rows of each of two classes, so no entropy and log 2 of information; a
    row has one row like it among its neighbours.
    """
    outputs, (a, b) = of_classifiers.Outputs(), ([99.0, 0.0], [0.0, 99.0])
    outputs.add(classifier_output([a, b, a]), np.array([True, True, True]), np.arange(3))
    padded = classifier_output([b, [0.0, 0.0], [0.0, 0.0]])
    outputs.add(padded, np.array([True, False, False]), np.array([3, -1, -1]))
    assert outputs.logits.tolist() == [a, b, a, b]
    data = types.SimpleNamespace(has_source_held_out=False)
    settings = dict(data=data, model=None, stage_config=None, batch_size=3)
    found = of_classifiers.label_free_figures(outputs, {}, **settings)
    assert found.keys() == {"label_free_entropy", "label_free_im", "label_free_snd"}
    np.testing.assert_allclose(list(found.values()), [0.0, np.log(2), 0.0], atol=1e-5)


class Held:
    """Two sources of two images each that are trained on, and of two that are held out."""

    devices, num_sources, has_source_held_out = (), 2, True

    def source_sample(self, number, count, batch_size, *, held_out):
        assert count == of_classifiers.MAX_DOMAIN_ROWS // 2
        image = np.full((3, 1), 10 * number + held_out, np.float32)
        # of the last source both held-out labels are right; the third row is padding
        label = np.array([0, number == 0, 1], np.int32)
        mask, index = np.array([True, True, False]), np.array([0, 1, -1])
        yield {"image": image, "label": label, "mask": mask, "index": index}


def risk_of_classifier(monkeypatch, target_bn):
    def inference(model, norm_set, devices):
        def run(variables, images):
            sure = np.tile(np.float32([1.0, 0.0]), (len(images), 1))  # always the first class
            return types.SimpleNamespace(features=images + 100 * norm_set, logits=sure)

        return run

    monkeypatch.setattr(of_classifiers, "inference", inference)
    monkeypatch.setattr(of_classifiers, "_figures", lambda logits, some: {})
    outputs = of_classifiers.Outputs(with_features=True)
    outputs.add(classifier_output([[-5.0], [-6.0]]), np.array([True, False]), np.array([0, -1]))
    settings = dict(model=None, stage_config=types.SimpleNamespace(target_bn=target_bn))
    return of_classifiers.label_free_figures(outputs, {}, data=Held(), batch_size=3, **settings)


def test_a_classifiers_risk_is_that_of_its_errors_on_held_out_images(weighed, monkeypatch):
    """Of four held-out images one is wrong, and each weighs 2."""
    assert risk_of_classifier(monkeypatch, target_bn=1) == {"label_free_dev": 0.5}
    seen = {name: rows.ravel().tolist() for name, rows in weighed.items()}
    assert seen == {"source": [0, 0, 10, 10], "target": [-5], "held_out": [1, 1, 11, 11]}


def test_each_source_goes_through_its_own_statistics_where_it_has_some(weighed, monkeypatch):
    risk_of_classifier(monkeypatch, target_bn=2)
    assert weighed["source"].ravel().tolist() == [0, 0, 110, 110]
    assert weighed["held_out"].ravel().tolist() == [1, 1, 111, 111]


def test_the_pixels_of_an_image_are_the_same_at_every_evaluation():
    picks = of_segmenters.picks_of(3, 5000)
    assert picks.dtype == np.int32 and len(set(picks.tolist())) == of_segmenters.PIXELS
    assert picks.min() >= 0 and picks.max() < 5000
    np.testing.assert_array_equal(picks, of_segmenters.picks_of(3, 5000))
    assert picks.tolist() != of_segmenters.picks_of(4, 5000).tolist()
    assert sorted(of_segmenters.picks_of(3, 6)) == list(range(6)), "all of a small map"


def test_a_segmenters_figures_are_the_means_over_its_images(monkeypatch):
    """Each image counts as much; the second batch ends with padding."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (4, 2, 3, 3)).astype(np.float32)
    monkeypatch.setattr(of_segmenters, "_image_figures", image_figures)
    pixels = of_segmenters.Pixels()
    pixels.add(scores[:2], np.array([True, True]), np.array([0, 1]))
    pixels.add(scores[2:], np.array([True, False]), np.array([2, -1]))
    found = pixels.figures()
    p = np.exp(scores[:3]) / np.exp(scores[:3]).sum(-1, keepdims=True)
    entropy = -(p * np.log(p)).sum(-1).mean()
    mean = p.mean((0, 1, 2))
    expected = {"entropy": entropy, "im": -(mean * np.log(mean)).sum() - entropy, "snd": 1.0}
    assert found.keys() == expected.keys()
    for rule, value in expected.items():
        np.testing.assert_allclose(found[rule], value, rtol=1e-5, err_msg=rule)


def image_figures(scores, picks):
    """As ops.selection has it, but for an image's density: the least of its places, plus 1."""
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return -(p * np.log(p)).sum(-1).mean((1, 2)), p.mean((1, 2)), picks.min(1) + 1.0


class Colours:
    """The channels of an image are the scores of its classes, and its features."""

    def prediction_logits(self, output):
        return output.logits


FIRST, SECOND = (1.0, 0.0), (0.0, 1.0)  # pixels of each class
HELD_OUT = [[FIRST, SECOND, SECOND], [FIRST, SECOND, SECOND]]
# On the labels' own grid, twice as fine: only every second row and column are looked at. One of
# the six pixels has no class, and two of the others are predicted wrongly.
LABEL = np.full((4, 6), 7)
LABEL[1::2, 1::2] = [[0, 1, 255], [1, 1, 0]]


class Frames:
    """One image of each set, and padding."""

    devices, has_source_held_out = (jax.devices()[0],), True

    def sample(self, which, count, batch_size):
        assert count == of_segmenters.DEV_IMAGES
        image = np.stack([np.float32(HELD_OUT), np.full((2, 3, 2), np.nan, np.float32)])
        batch = {"image": image, "mask": np.array([True, False]), "index": np.array([0, -1])}
        if which == "evaluation":
            yield batch
        else:
            # the label has the upper left corner of its array
            label = np.pad(LABEL, ((0, 3), (0, 1)), constant_values=9).astype(np.uint8)
            yield batch | {"label": np.stack([label] * 2), "size_hw": np.int32([LABEL.shape] * 2)}


def risk_of_segmenter(monkeypatch, target_bn):
    def forward(model, variables, images, norm_set):
        return SegOutput(features=images + 100.0 * norm_set, logits=images, aux_logits=None)

    monkeypatch.setattr(of_segmenters, "forward", forward)
    pixels = types.SimpleNamespace(figures=lambda: {"entropy": 0.25})
    settings = dict(data=Frames(), model=Colours(), target_bn=target_bn, batch_size=2)
    return of_segmenters.label_free_figures(pixels, {}, **settings)


def test_a_segmenters_risk_is_that_of_labelled_held_out_pixels(weighed, monkeypatch):
    """Of five labelled pixels two are wrong, and each weighs 2."""
    found = risk_of_segmenter(monkeypatch, target_bn=0)
    assert found == {"label_free_entropy": 0.25, "label_free_dev": pytest.approx(2 * 2 / 5)}
    assert [len(weighed[name]) for name in ("source", "target", "held_out")] == [5, 6, 5]


def test_a_segmenters_target_goes_through_its_own_statistics(weighed, monkeypatch):
    risk_of_segmenter(monkeypatch, target_bn=1)
    assert weighed["target"].min() == 100.0
    assert weighed["source"].max() == weighed["held_out"].max() == 1.0


def test_unlabelled_images_have_pictures_of_their_predictions_without_padding(monkeypatch):
    """Two images in batches of two whose second is padded; the first picture alone is asked for,
    then more than there are.
    """
    shown = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    palette = np.array([[9, 8, 7], [1, 2, 3]], np.uint8)

    def batches(size):
        for index in range(2):
            scores = np.zeros((2, 2, 3, 2), np.float32)
            scores[..., index] = 1.0  # image i is of class i
            yield {"image": scores, "mask": np.array([True, False]), "index": np.array([index, -1])}

    data = types.SimpleNamespace(
        devices=(),
        evaluation_images=batches,
        evaluation_image=lambda index: shown[index],
        space=types.SimpleNamespace(palette=palette),
    )
    monkeypatch.setattr(
        of_segmenters, "segmenter_inference", lambda *_, **__: lambda _, images: images
    )
    settings = dict(model=None, norm_set=0, batch_size=2, align_corners=True, window=None)
    for asked, names in ((1, ["0000"]), (9, ["0000", "0001"])):
        pixels = of_segmenters.Pixels()
        pictures = of_segmenters.run_without_labels(
            {}, pixels, data=data, num_pictures=asked, **settings
        )
        assert list(pictures) == names
        assert all(len(part) == 2 and len(part[0]) == 1 for part in pixels._parts)
        for index, picture in enumerate(pictures.values()):
            half = picture.shape[1] // 2
            assert (picture[:, half + 1 :] == palette[index]).all()
