"""CAN's refresh where k-means has exchanged classes: a cluster counts as the class it matches."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import between, names_in
from toy_classifier import ArrayFeed

from dajax.methods.classification import can
from dajax.models.classifier import Output
from dajax.recipes import can as can_config
from dajax.state import TrainState


class Given(nn.Module):
    """Features are the images."""

    num_classes: int
    network: ClassVar[str] = "classifier"

    def __call__(self, images, mode):
        return Output(features=images, logits=jnp.zeros((len(images), self.num_classes)))


@pytest.mark.parametrize("name", between(names_in("can_kmeans"), "perm_", "/labels"))
def test_pseudo_labels_are_the_classes_that_clusters_match_and_not_their_numbers(golden, name):
    """The source has one image of each class, which is its centre; the golden file has labels."""
    case = golden("can_kmeans")[f"perm_{name}"]
    centers = case["init_centers"].astype(np.float32)
    num_classes, width = centers.shape
    data = ArrayFeed(
        {"source": (centers, np.arange(num_classes)), "target": (case["tgt_feat"], None)}
    )
    config = can_config.get_config("office31,source=amazon,target=webcam,weights=none").can
    config.clustering.update(eps=float(case["eps"]), max_distance=1.1, min_count=0)
    nothing = np.full(len(case["tgt_feat"]), -1, np.int32)
    extra = {
        "pseudo_labels": nothing,
        "cluster_labels": nothing,
        "kept_classes": np.zeros(num_classes, bool),
        "centers": np.zeros((num_classes, width), np.float32),
        "loop": jnp.int32(0),
        "loop_start": jnp.int32(0),
        "refresh_at": jnp.int32(0),
        "finished": jnp.asarray(False),
    }
    state = TrainState.create(
        params={"classifier": {}}, batch_stats={"classifier": {}}, opt_state={}, extra=extra
    )
    new, _, _ = can.refresh(state, data=data, config=config, model=Given(num_classes))
    assert (case["labels"] != case["labels_raw"]).any(), "the case exchanges classes"
    np.testing.assert_array_equal(new.extra["cluster_labels"], case["labels"])
    np.testing.assert_array_equal(new.extra["pseudo_labels"], case["labels"])
    # tests/golden/README.md: centres to 1e-5 of the largest entry.
    assert_close(new.extra["centers"], case["centers_fixed"], 1e-5)
