"""The images of a set that a list names."""

import pytest

from data_pipeline.errors import DataError
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.image_list import listed_in
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.segmentation_set import SegmentationSet

IMAGES = ("/d/a/one.png", "/d/a/two.png", "/d/b/one.png", "/d/b/three.png")
SET = SegmentationSet("frames", IMAGES, None, CITYSCAPES, read_ids)


def chosen(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return listed_in(SET, str(path), "config.data.target_list").image_paths


def test_images_are_named_by_the_end_of_their_paths(tmp_path):
    """In the order of the set, whatever the list's; CRST's has a label's path behind a tab."""
    found = chosen(tmp_path, "three.png\tlabels/three.png\n\nb/one.png\ntwo.png\n")
    assert found == ("/d/a/two.png", "/d/b/one.png", "/d/b/three.png")


@pytest.mark.parametrize(
    "text, says",
    [
        ("two.png\nfour.png\n", "line 2, 'four.png', is no image of frames; expected the path"),
        ("one.png\n", "line 1, 'one.png', is several images of frames"),
        ("\n", "has no lines; expected the path of an image a line"),
    ],
)
def test_a_line_that_names_none_or_several_is_said(tmp_path, text, says):
    with pytest.raises(DataError, match=f"config.data.target_list=.*({says})"):
        chosen(tmp_path, text)
