"""SPCL's class center distance against its formula."""

import numpy as np
import pytest
from compare import assert_value

from dajax.ops.class_center_distance import class_center_distance, class_moments


def test_it_is_the_formula_with_given_centers_and_with_means(golden):
    """Of two parts of the pixels, whose moments add up."""
    case = golden("spcl_ccd")[""]
    num_classes, third = len(case["mu_given"]), len(case["labels"]) // 3
    parts = [
        class_moments(case["features"][rows], case["labels"][rows], num_classes)
        for rows in (slice(None, third), slice(third, None))
    ]
    moments = tuple(map(sum, zip(*parts, strict=True)))
    present = case["present"]
    np.testing.assert_array_equal(moments[0] > 0, present)
    assert present.any()
    means = moments[1][present] / moments[0][present, None]
    assert_value(means, case["class_mean"][present], 1e-12)  # float64, as is what follows
    assert_value(class_center_distance(moments, case["mu_given"]), case["ccd_given_mu"], 1e-10)
    assert_value(class_center_distance(moments), case["ccd_class_mean"], 1e-10)


def test_the_scale_of_features_does_not_matter():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(2, 5, 6, 4)), rng.integers(0, 3, (2, 5, 6))
    one, other = (
        class_center_distance(class_moments(scale * features, labels, 3)) for scale in (1.0, 7.0)
    )
    np.testing.assert_allclose(one, other, rtol=1e-10)


def test_shapes_that_do_not_fit_are_said(unchecked_types):
    with pytest.raises(ValueError, match=r"labels \(3,\) do not fit features \(4, 2\)"):
        class_moments(np.zeros((4, 2)), np.zeros(3, int), 2)
