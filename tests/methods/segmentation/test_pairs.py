"""Methods that join images of both domains say before the run begins that their sizes differ."""

import pytest
from batches import shapes

from dajax.errors import UserError
from dajax.methods.segmentation import entropy_minimization, pixmatch, self_training
from dajax.recipes import cbst, fda
from dajax.recipes import pixmatch as pixmatch_recipe

STAGES = {
    pixmatch: pixmatch_recipe.get_config().pixmatch,
    self_training: cbst.get_config().cbst_1,
    entropy_minimization: fda.get_config().fda_01,
}
SMALL, LARGE = (4, 6), (8, 12)


class Feed:
    """Source images of all sizes given, labels of the first; target images of one."""

    def __init__(self, *source_hw, target_hw=SMALL):
        self._sizes = {"source": source_hw, "target": (target_hw,)}

    def shapes(self, transform):
        return shapes(*self._sizes["source" if transform == "source" else "target"])

    def normalisation(self, _domain):
        """FDA's own, so that sizes alone are looked at."""
        return STAGES[entropy_minimization].style.normalisation.to_dict()


@pytest.mark.parametrize("method", STAGES)
def test_a_second_size_of_either_domain_is_told(method):
    check = {"config": STAGES[method], "model": None}
    method.check_data(None, data=Feed(SMALL), **check)
    with pytest.raises(UserError, match="one size .* source image 8x12, .*target image 4x6; set"):
        method.check_data(None, data=Feed(SMALL, LARGE), **check)
    with pytest.raises(UserError, match="one size .* source image 4x6, .*target image 8x12; set"):
        method.check_data(None, data=Feed(SMALL, target_hw=LARGE), **check)


@pytest.mark.parametrize(
    "method, says",
    [
        (pixmatch, "found source image 4x6, source label 8x12, target image 4x6; "),
        (self_training, "found source label 8x12, target label 4x6; "),
    ],
)
def test_labels_of_another_size_than_images_are_told_where_they_are_joined(method, says):
    feed = Feed(LARGE, SMALL)
    feed.shapes = lambda name: shapes(LARGE, SMALL)[1:] if name == "source" else shapes(SMALL)
    with pytest.raises(UserError, match=says):
        method.check_data(None, data=feed, config=STAGES[method], model=None)
