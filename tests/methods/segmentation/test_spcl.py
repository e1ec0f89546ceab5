"""SPCL's step against the authors' (spcl_train_steps.npz), its choices, and the one refresh before
it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close, assert_value
from golden_arrays import channels_last, ints
from prototype_golden import GRADIENT_TOLERANCE, VALUE_TOLERANCE, assert_contrast
from tiny_segmenter import tiny_segmenter

from dajax.errors import UserError
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import spcl
from dajax.models.apply import inference
from dajax.models.aspp import SegOutput
from dajax.ops.labels import IGNORED
from dajax.ops.resize import resize_nearest_legacy
from dajax.recipes import spcl as spcl_config
from dajax.recipes.base import segmentation as seg_base


def authors(**changes):
    """The released settings, which shrink the prototypes of absent classes."""
    return seg_base.without(
        spcl_config.get_config("gta5_to_cityscapes,weights=none").spcl,
        **({"absent_classes": "shrink"} | changes),
    )


def step_of(case, t):
    """(outputs, batch) of iteration t of the golden file."""

    def labels(name):
        return {"label": ints(case[name][t]), "mask": jnp.ones(case[name].shape[1], bool)}

    batch = {"source": labels("src_label"), "target": labels("tgt_pseudo_label")}
    source, target = (channels_last(case[name][t]) for name in ("src_feat", "tgt_feat"))
    source_logits = channels_last(case["src_logits"][t])
    # With labels from files only the grid of the target's logits is read.
    target_logits = jnp.zeros((*target.shape[:3], source_logits.shape[-1]))
    return (
        SegOutput(source, source_logits, None),
        SegOutput(target, target_logits, None),
    ), batch


def run(outputs, batch, extra, config):
    def loss_fn(outputs):
        # The target's logits are read at the grid of the features alone.
        size_hw = batch["source"]["label"].shape[1:]
        seen = [segmenter.at_size(output, size_hw) for output in outputs]
        loss, terms, new = spcl.losses(*seen, batch, extra, config=config)
        return loss, (terms, new)

    return jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(outputs)


def initial_prototypes(case):
    return jnp.asarray(case["prototype_init"].T, jnp.float32)


def fresh(prototypes):
    return {
        "prototypes": prototypes,
        "known": jnp.ones(len(prototypes), bool),
        "is_initialised": jnp.ones((), bool),
    }


@pytest.mark.parametrize(
    "absent, name", [("shrink", "prototype"), ("keep", "prototype_keep_absent")]
)
def test_three_steps_move_prototypes_and_lose_as_the_authors(golden, absent, name):
    case = golden("spcl_train_steps")[""]
    config = authors(
        absent_classes=absent,
        contrast_weight=float(case["lam"]),
        prototype_decay=float(case["alpha"]),
    )
    extra, num_steps = fresh(initial_prototypes(case)), len(case["loss_cl"])
    assert num_steps > 1
    for t in range(num_steps):
        (loss, (terms, extra)), grads = run(*step_of(case, t), extra, config)
        assert_close(extra["prototypes"].T, case[name][t], VALUE_TOLERANCE)
        assert_value(terms["segmentation"], case["loss_seg"][t], VALUE_TOLERANCE)
        if absent == "shrink":  # the file's losses are of these prototypes
            num_classes = len(extra["prototypes"])
            for domain, short in (("source", "src"), ("target", "tgt")):
                expected = case[f"loss_cl_{short}"][t]
                assert_contrast(terms[f"contrast_{domain}"], expected, num_classes)
            assert_value(loss, case["loss_seg"][t] + case["loss_cl"][t], VALUE_TOLERANCE)
        source, _ = grads
        assert np.abs(source.features).max() > 0, "the contrast reaches the features"


def test_gradients_are_those_of_the_pieces(golden):
    """Of the features by hand: at SPCL's temperature the value alone proves nothing."""
    case = golden("spcl_train_steps")[""]
    config, extra = authors(contrast_weight=1.0), fresh(initial_prototypes(case))
    outputs, batch = step_of(case, 0)
    (_, (_, new)), (source, target) = run(outputs, batch, extra, config)
    for output, grad, labels in (
        (outputs[0], source, case["src_mask"][0]),
        (outputs[1], target, case["tgt_mask"][0]),
    ):
        f, mu = np.asarray(output.features, np.float64), np.asarray(new["prototypes"], np.float64)
        length = np.linalg.norm(f, axis=-1, keepdims=True)
        u = f / length
        p = np.exp(u @ mu.T / config.temperature)
        p /= p.sum(-1, keepdims=True)
        valid = labels != IGNORED
        p -= np.eye(IGNORED + 1)[labels][..., : len(mu)]
        slope = np.where(valid[..., None], p / config.temperature / valid.sum(), 0) @ mu
        expected = (slope - (slope * u).sum(-1, keepdims=True) * u) / length
        assert_close(grad.features, expected, GRADIENT_TOLERANCE)


def test_the_switches_leave_terms_out_and_online_labels_need_no_files(golden):
    case = golden("spcl_train_steps")[""]
    outputs, batch = step_of(case, 0)
    extra = fresh(initial_prototypes(case))
    (_, (terms, _)), (source, target) = run(outputs, batch, extra, authors(contrast_target=False))
    assert "contrast_target" not in terms and not np.abs(target.features).any()
    online = {"source": batch["source"], "target": {"mask": batch["target"]["mask"]}}
    (_, (terms, _)), _ = run(outputs, online, extra, authors(target_mask="online", cap=0.0))
    assert terms["contrasted_target"] > 0.99, "every confidence is above 0"
    (_, (all_terms, _)), _ = run(outputs, batch, extra, authors(source_mask="labels"))
    assert all_terms["contrasted_source"] > terms["contrasted_source"]


def test_an_online_label_must_be_above_its_threshold():
    """A pixel at the threshold, here the cap, stays without; the files' rule would take it. Eq. 5
    of the paper.
    """
    config = authors(target_mask="online", proportion=0.5, cap=0.5)
    # class 0 at 0.99995 twice, 0.5 exactly, and 0.50025
    logits = jnp.array([[[[10.0, 0.0], [10.0, 0.0], [0.0, 0.0], [0.001, 0.0]]]])
    row = {"mask": jnp.ones(1, bool)}
    np.testing.assert_array_equal(
        spcl.target_labels(row, logits, config=config)[0, 0], [0, 0, 255, 0]
    )
    np.testing.assert_array_equal(
        spcl.target_labels({"mask": jnp.zeros(1, bool)}, logits, config=config), 255
    )


def test_nothing_labelled_is_finite_and_leaves_prototypes_alone(golden):
    case = golden("spcl_train_steps")[""]
    outputs, batch = step_of(case, 0)
    extra = fresh(initial_prototypes(case))
    void = jax.tree.map(lambda x: jnp.full_like(x, 255) if x.dtype == jnp.int32 else x, batch)
    zero = outputs[0]._replace(features=jnp.zeros_like(outputs[0].features))
    (loss, (_, new)), grads = run((zero, outputs[1]), void, extra, authors(absent_classes="keep"))
    assert loss == 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    np.testing.assert_array_equal(new["prototypes"], extra["prototypes"])


class OneBatch:
    """A feed whose source is one batch."""

    class_names, devices = ("a", "b", "c"), jax.devices()[:1]

    def __init__(self, batch):
        self.batch = batch

    def source_pass(self, batch_size):
        yield self.batch


def test_the_refresh_makes_prototypes_once_of_the_rows_that_are_no_padding():
    """By hand: the mean of the first image's features, at length 1, over each class's pixels. The
    second row is padding.
    """
    config = spcl_config.get_config("scenes").spcl
    config.source_mask = "labels"
    model = tiny_segmenter(config, heads="single", num_classes=3)
    state = spcl.init(jax.random.key(0), jnp.zeros((2, 16, 24, 3)), config=config, model=model)
    assert spcl.schedule(state, config=config).refresh_at == 0
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2, 16, 24)).astype(np.int32)
    labels[1] = 2  # a class that only the padding has
    batch = part(rng.normal(size=(2, 16, 24, 3)).astype(np.float32), labels, [True, False])
    new, summary, notes = spcl.refresh(state, data=OneBatch(batch), config=config, model=model)
    assert summary == {"classes_with_prototype": 2.0} and "prototypes of c" in notes[0]
    assert spcl.schedule(new, config=config).refresh_at is None
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    run_network = inference(model, config.target_bn, OneBatch.devices)
    features = np.asarray(run_network(variables, batch["image"]).features[0], np.float64)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    low = np.asarray(resize_nearest_legacy(labels[:1], features.shape[:2]))[0]
    for k in range(2):
        # float32 sums
        np.testing.assert_allclose(
            new.extra["prototypes"][k], unit[low == k].mean(0), rtol=1e-5, atol=1e-6
        )
    assert not new.extra["prototypes"][2].any() and not new.extra["known"][2]


def test_unknown_choices_are_refused():
    config = seg_base.without(spcl_config.get_config("scenes").spcl, target_mask="offline")
    with pytest.raises(UserError, match="target_mask='offline': unknown; known: files, online"):
        spcl.init(jax.random.key(0), jnp.zeros((2, 16, 24, 3)), config=config, model=None)
