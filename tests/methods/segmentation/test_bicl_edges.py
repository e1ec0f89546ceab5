"""BiCL where labels, classes or rows are missing, and one label by hand."""

import bicl_golden
import jax
import jax.numpy as jnp
import numpy as np
import prototype_golden as pg
import pytest
from bicl_golden import CODE, settings
from compare import assert_value

from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import bicl
from dajax.models.aspp import SegOutput
from dajax.ops.labels import IGNORED
from dajax.ops.similarity import normalize


@pytest.fixture(scope="module")
def formula(golden):
    return bicl_golden.Formula(golden("dass_formula")[""])


def ignored(batch, *domains):
    return {
        d: part | ({"label": jnp.full_like(part["label"], IGNORED)} if d in domains else {})
        for d, part in batch.items()
    }


def first_row(part):
    """A mask of the first row alone."""
    return np.arange(len(part["mask"])) < 1


EDGES = {
    "target ignored": lambda f: (f.features, ignored(f.batch, "target")),
    "source ignored": lambda f: (f.features, ignored(f.batch, "source")),
    "all ignored": lambda f: (f.features, ignored(f.batch, "source", "target")),
    "one class each": lambda f: (
        f.features,
        {
            d: part | {"label": jnp.full_like(part["label"], d == "target")}
            for d, part in f.batch.items()
        },
    ),
    "padded rows": lambda f: (
        f.features,
        {d: part | {"mask": first_row(part)} for d, part in f.batch.items()},
    ),
    "nothing": lambda f: (
        f.features,
        {d: part | {"mask": np.zeros_like(part["mask"])} for d, part in f.batch.items()},
    ),
    "zero features": lambda f: (tuple(jnp.zeros_like(x) for x in f.features), f.batch),
    "equal features": lambda f: (tuple(jnp.ones_like(x) for x in f.features), f.batch),
}


@pytest.mark.parametrize(
    "changes",
    [{}, {"dynamic.score": "probability", "dynamic.threshold": 0.05}, CODE, {"dynamic.share": 0.3}],
    ids=["cosine", "probability", "pair", "share"],
)
@pytest.mark.parametrize("edge", EDGES)
def test_edges_have_finite_values_and_gradients(formula, edge, changes):
    features, batch = EDGES[edge](formula)
    loss, terms, moved, grads = formula.evaluate(
        settings(**changes), features=features, batch=batch
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, terms, moved, grads)))
    if edge in ("all ignored", "source ignored", "nothing"):
        assert terms["forward"] == 0 and terms.get("labelled_dynamic", 0) == 0, (
            "no source prototype, no dynamic label"
        )
        np.testing.assert_array_equal(moved["mu_source"], formula.extra["mu_source"])
    if edge in ("all ignored", "nothing"):
        assert terms["backward"] == 0 and not any(np.asarray(grad).any() for grad in grads)
    if edge == "nothing":
        assert loss == 0
    if edge == "target ignored":
        assert terms["segmentation_target"] == 0 and terms["labelled_static"] == 0
        dynamic = terms.get("labelled_dynamic", 0)
        assert terms.get("labelled_hybrid", 0) == dynamic and (dynamic > 0) == (changes != CODE), (
            "dynamic labels need no static ones"
        )
    if "dynamic.share" in changes and edge in ("source ignored", "all ignored", "nothing"):
        assert not np.asarray(moved["scores"]).any(), "a batch without scores leaves no trace"


def test_a_padded_row_counts_nowhere(formula):
    padded = {d: part | {"mask": first_row(part)} for d, part in formula.batch.items()}
    features = tuple(f.at[1].set(100.0) for f in formula.features)
    loss, terms, moved, grads = formula.evaluate(settings(), batch=padded, features=features)
    again = formula.evaluate(settings(), batch=padded)
    assert loss == again[0] and all(terms[name] == again[1][name] for name in terms)
    assert all(np.array_equal(moved[name], again[2][name]) for name in moved)
    assert not any(np.asarray(grad[1]).any() for grad in grads) and any(
        np.asarray(grad[0]).any() for grad in grads
    )


def test_without_dynamic_labels_the_static_ones_count(formula):
    config = settings(**{"dynamic.threshold": 0.99999})
    loss, terms, moved, grads = formula.evaluate(config)
    static_loss, _, static_moved, static_grads = formula.evaluate(settings(**{"dynamic.on": False}))
    assert (
        terms["labelled_dynamic"] == 0 and terms["labelled_hybrid"] == terms["labelled_static"] > 0
    )
    np.testing.assert_allclose(loss, static_loss, rtol=1e-6)  # two programs round apart
    for a, b in zip(
        jax.tree.leaves((moved, grads)), jax.tree.leaves((static_moved, static_grads)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(np.abs(b).max(), 1e-30))


def test_labels_come_to_the_features_by_their_upper_left_pixels(formula):
    """Label maps of twice the size, other pixels ignored: the contrast of the small maps."""

    def enlarged(part):
        rows, height, width = part["label"].shape
        label = np.full((rows, 2 * height, 2 * width), IGNORED, np.int32)
        label[:, ::2, ::2] = part["label"]
        return part | {"label": jnp.asarray(label)}

    case = formula.case
    config = settings(**{"temperature": float(case["tau"]), "dynamic.threshold": float(case["T"])})
    batch = {d: enlarged(part) for d, part in formula.batch.items()}
    _, terms, _, _ = formula.evaluate(config, batch=batch)
    assert_value(terms["forward"], case["fc_mean"], pg.VALUE_TOLERANCE)
    assert_value(terms["backward"], case["bc_mean"], pg.VALUE_TOLERANCE)


def test_a_dynamic_label_by_hand():
    """One target pixel near class 1 only once the bias is added; it gets that label and no static
    one.
    """
    source_features = jnp.asarray([[[[1.0, 0.0], [0.0, 1.0]]]])
    target_features = jnp.asarray([[[[0.9, 0.6], [-1.0, 0.05]]]])
    labels = {"source": jnp.asarray([[[0, 1]]]), "target": jnp.asarray([[[IGNORED, IGNORED]]])}
    batch = {domain: {"label": label, "mask": np.ones(1, bool)} for domain, label in labels.items()}
    known = jnp.ones(2, bool)
    extra = {
        "mu_source": jnp.asarray([[1.0, 0.0], [0.0, 1.0]]),
        "known_source": known,
        "known_target": known,
    }
    extra["mu_target"] = jnp.asarray([[1.0, 0.0], [-1.0, 0.0]])  # rho_S + xi: (1, 0) and (-1, 0)
    outputs = [
        SegOutput(f, jnp.zeros((1, 1, 2, 2)), None) for f in (source_features, target_features)
    ]
    for calibrate, share, means in (
        (True, 1.0, [[0.9, 0.6], [-1.0, 0.05]]),
        (False, 0.5, [[0.9, 0.6], [-1.0, 0.0]]),
    ):
        config = settings(
            **{"dynamic.calibrate": calibrate, "dynamic.threshold": 0.8, "decay": 0.0}
        )
        seen = [
            segmenter.at_size(output, batch[domain]["label"].shape[1:])
            for domain, output in zip(("source", "target"), outputs, strict=True)
        ]
        _, terms, moved = bicl.losses(*seen, batch, extra, config=config)
        assert terms["labelled_dynamic"] == share and terms["labelled_static"] == 0
        np.testing.assert_allclose(moved["mu_target"], means, rtol=1e-6)
        if calibrate:
            # to (1, 0) and (0, 1), the prototypes without bias
            cosine = np.asarray(normalize(target_features[0, 0]))
            expected = np.log1p(
                np.exp((cosine[[0, 1], [1, 0]] - cosine[[0, 1], [0, 1]]) / 0.1)
            ).mean()
            np.testing.assert_allclose(terms["forward"], expected, rtol=1e-5)
