"""k-means, matching and filtering against the authors' code (can_kmeans.npz, can_filter.npz)."""

import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import between, names_in

from dajax.ops import clustering
from dajax.ops.filtering import drop_contradicted, filter_by_distance

# tests/golden/README.md: centres, distances and center_change, relative to the largest entry
TOLERANCE = 1e-5
KMEANS_CASES = between(names_in("can_kmeans"), suffix="/n_updates")
WITH_SOURCE = between(names_in("can_kmeans"), suffix="/src_label")


@pytest.mark.parametrize("name", KMEANS_CASES)
@pytest.mark.parametrize("chunk_size", [7, 4096])
def test_kmeans_is_the_authors(golden, name, chunk_size):
    case = golden("can_kmeans")[name]
    features = jnp.asarray(case["tgt_feat"])
    init = jnp.asarray(case["init_centers"], jnp.float32)
    if "labels_of_code_variant" in case:  # of the paper, on unit features
        features = clustering.normalize(features)
    out = clustering.cosine_kmeans(
        features, init, eps=float(case["eps"]), max_updates=100, chunk_size=chunk_size
    )
    n = int(case["n_updates"])
    assert int(out.num_updates) == n
    np.testing.assert_allclose(out.moves[:n], case["stop_dists"], rtol=0, atol=1e-6)
    assert np.isnan(out.moves[n:]).all()
    np.testing.assert_array_equal(out.labels, case["labels_raw"])
    distances = clustering.cosine_distances(features, out.centers)
    assert_close(out.centers, case["centers_raw"], TOLERANCE)
    assert_close(distances, case["dist2center"], TOLERANCE)
    assert_close(out.distances, case["dist2center"].min(1), TOLERANCE)
    matching = clustering.match_clusters(out.centers, init)
    np.testing.assert_array_equal(matching, case["cluster2label"])
    np.testing.assert_array_equal(matching[np.asarray(out.labels)], case["labels"])
    fixed = out.centers[np.argsort(matching)]
    assert_close(fixed, case["centers_fixed"], TOLERANCE)
    assert_close(clustering.mean_center_move(fixed, init), case["center_change_fixed"], TOLERANCE)


@pytest.mark.parametrize("name", WITH_SOURCE)
def test_source_centres_are_class_sums(golden, name):
    case = golden("can_kmeans")[name]
    features = jnp.asarray(case["src_feat"])
    if "labels_of_code_variant" in case:  # of the paper, on unit features
        features = clustering.normalize(features)
    labels, num_classes = jnp.asarray(case["src_label"]), int(case["num_classes"])
    sums = clustering.class_sums(features, labels, num_classes)
    assert_close(sums, case["init_centers"], TOLERANCE)


def test_a_class_without_source_images_does_not_run_for_ever():
    """The authors' loop never ends here: a zero centre is at 0.5 from itself, so its move never
    falls below eps.
    """
    features = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    init = jnp.asarray(np.eye(3, 4, dtype=np.float32)).at[2].set(0.0)
    out = clustering.cosine_kmeans(features, init, eps=0.005, max_updates=100)
    assert int(out.num_updates) < 100 and np.isfinite(out.centers).all()


def test_the_number_of_updates_is_capped():
    features = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    out = clustering.cosine_kmeans(features, features[:3], eps=-1.0, max_updates=5)
    assert int(out.num_updates) == 5


def test_two_by_two_by_hand():
    """Centres along the axes; (3, 1) is nearer the first axis: cos = 3 / sqrt(10)."""
    features, init = jnp.asarray([[3.0, 1.0], [1.0, 3.0]]), jnp.eye(2)
    out = clustering.cosine_kmeans(features, init, eps=1e-6, max_updates=10)
    np.testing.assert_array_equal(out.labels, [0, 1])
    np.testing.assert_allclose(out.centers, features)
    np.testing.assert_allclose(out.distances, [0.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(out.moves[0], 0.5 * (1 - 3 / np.sqrt(10)), rtol=1e-5)


def test_filter_is_the_authors(golden):
    cases = golden("can_filter")
    assert sum(len(case["kept_index"]) for case in cases.values()) > 0
    for case in cases.values():
        num_classes = int(case["num_classes"])
        kept_labels, kept_classes = filter_by_distance(
            case["labels"],
            case["dist2center"].min(1),
            num_classes=num_classes,
            max_distance=float(case["d0"]),
            min_count=int(case["n0"]),
        )
        np.testing.assert_array_equal(np.flatnonzero(kept_classes), case["kept_classes"])
        near = np.flatnonzero(case["dist2center"].min(1) < case["d0"])
        np.testing.assert_array_equal(near, case["kept_index"])
        np.testing.assert_array_equal(case["labels"][near], case["kept_label"])
        by_class = [np.flatnonzero(kept_labels == c) for c in case["kept_classes"]]
        np.testing.assert_array_equal(
            np.concatenate(by_class) if by_class else [], case["class_sample_index_flat"]
        )


def test_images_that_the_head_contradicts_are_dropped_where_it_knows_the_class():
    """Cluster 0: the head has three of four. Cluster 1: one of three, so all of it stays that the
    distance has left. Cluster 2: one of two, the half; cluster 3 has nobody.
    """
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2], np.int32)
    head = np.array([0, 0, 0, 3, 1, 0, 2, 2, 1], np.int32)
    near = np.array([0, -1, 0, 0, 1, 1, -1, 2, 2], np.int32)
    kept, classes = drop_contradicted(near, labels, head, num_classes=4, min_count=1)
    np.testing.assert_array_equal(kept, [0, -1, 0, -1, 1, 1, -1, 2, -1])
    np.testing.assert_array_equal(classes, [True, True, True, False])
    kept, classes = drop_contradicted(near, labels, head, num_classes=4, min_count=2)
    np.testing.assert_array_equal(kept, [0, -1, 0, -1, 1, 1, -1, -1, -1])
    np.testing.assert_array_equal(classes, [True, True, False, False])


def test_an_image_at_d0_is_dropped_and_a_class_with_n0_images_is_kept():
    """solver/utils.py: `min_dist < D0`, strict, and `>= N0`; the paper has "more than" N0. One
    image is at D0, one each side of it.
    """
    d0 = np.float32(0.05)
    distances = np.array(
        [np.nextafter(d0, np.float32(0)), d0, np.nextafter(d0, np.float32(1)), 0.0], np.float32
    )
    labels = np.array([0, 0, 0, 1], np.int32)
    kept, classes = filter_by_distance(
        labels, distances, num_classes=2, max_distance=0.05, min_count=1
    )
    np.testing.assert_array_equal(kept, [0, -1, -1, 1])
    np.testing.assert_array_equal(classes, [True, True])
    kept, classes = filter_by_distance(
        labels, distances, num_classes=2, max_distance=0.05, min_count=2
    )
    np.testing.assert_array_equal(kept, -1)
    np.testing.assert_array_equal(classes, False)
