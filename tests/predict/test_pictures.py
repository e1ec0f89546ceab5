"""Which pictures --images names, and how a video's frames are read."""

import pathlib
import sys
import types

import numpy as np
import pytest
from PIL import Image

from dajax.errors import UserError
from dajax.predict import video
from dajax.predict.pictures import list_pictures, read_ahead


@pytest.fixture
def photos(tmp_path):
    """Pictures in a folder and a subfolder, and what else lies there."""
    root = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "trip/c.webp", "trip/.hidden.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (200, 30, 90)).save(root / name)
    (root / "notes.txt").write_text("x")
    return root


def files_of(listing):
    return [picture.file for picture in listing.pictures([])]


def test_a_folder_is_read_with_its_subfolders_and_what_is_left_out_is_named(photos, tmp_path):
    listing = list_pictures(str(photos), tmp_path / "out")
    assert files_of(listing) == ["a.png", "b.JPG", "trip/c.webp"] and listing.count() == 3
    assert list(listing.names().values()) == ["a", "b", "trip/c"]
    said = "\n".join(listing.describe())
    assert "1 that end in .txt" in said and "notes.txt" in said and "1 hidden" in said


def test_a_link_back_to_its_own_folder_is_not_followed(photos, tmp_path):
    (photos / "trip" / "again").symlink_to(photos)
    assert len(files_of(list_pictures(str(photos), tmp_path / "out"))) == 3


def test_predictions_inside_the_folder_are_no_input(photos):
    out = photos / "out"
    out.mkdir()
    Image.new("RGB", (8, 6)).save(out / "a_color.png")
    assert len(files_of(list_pictures(str(photos), out))) == 3
    assert files_of(list_pictures(str(photos / "**/*.png"), out)) == ["a.png"]


def test_a_pattern_and_a_single_picture(photos, tmp_path):
    listing = list_pictures(str(photos / "*.[pj]*"), tmp_path / "out")
    assert files_of(list_pictures(str(photos / "a.png"), tmp_path / "out")) == ["a.png"]
    assert files_of(listing) == ["a.png"], "a pattern tells capitals apart"


def test_two_files_that_differ_in_their_ending_keep_it(photos, tmp_path):
    for name in ("a.bmp", "a.png.bmp"):
        Image.new("RGB", (8, 6)).save(photos / name)
    names = list_pictures(str(photos), tmp_path / "out").names()
    assert {pathlib.Path(x).name: y for x, y in names.items()} == {
        "a.bmp": "a.bmp",
        "a.png": "a.png",
        "a.png.bmp": "a.png.bmp",
        "b.JPG": "b",
        "c.webp": "trip/c",
    }


def test_a_folder_cannot_be_input_and_output_at_once(photos):
    with pytest.raises(UserError, match="^--out=.*: is the folder of --images"):
        list_pictures(f"{photos}/", photos)


def test_a_folder_with_a_video_says_how_videos_are_read(photos, tmp_path):
    assert not any("videos" in line for line in list_pictures(str(photos), "out").describe())
    (photos / "a.mp4").write_bytes(b"x")
    lines = list_pictures(str(photos), tmp_path / "out").describe()
    assert lines[-1] == "images: videos in a folder are left alone; name one itself, --images=FILE"


@pytest.mark.parametrize(
    "name, says",
    [
        ("nowhere", "no such file or folder; name a folder of pictures"),
        ("notes.txt", "neither a picture .* nor a video"),
        ("*.tif", "no picture .* has a name of this pattern"),
        ("empty", "no pictures .* in this folder or below it; there: nothing"),
    ],
)
def test_images_that_are_none_are_one_line(photos, tmp_path, name, says):
    (photos / "empty").mkdir()
    with pytest.raises(UserError, match=f"^--images=.*{name.replace('*', '.')}: {says}"):
        list_pictures(str(photos / name), tmp_path / "out")


def test_pictures_are_read_ahead_in_their_order():
    asked = []

    def read(number):
        asked.append(number)
        if number == 3:
            raise ValueError("three")
        return number * number

    pairs = list(read_ahead(iter(range(40)), read))
    assert [number for number, _ in pairs] == list(range(40)) and len(asked) == 40
    assert pairs[39][1].result() == 39 * 39
    with pytest.raises(ValueError, match="three"):
        pairs[3][1].result()


class _Capture:
    """cv2.VideoCapture of three frames whose blue is their number."""

    def __init__(self, path):
        self.left = 0 if "broken" in path else 3

    def get(self, _):
        return float(self.left)

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((4, 6, 3), (2 - self.left, 0, 9), np.uint8)

    def release(self):
        pass


@pytest.fixture
def opencv(monkeypatch):
    """A module in OpenCV's place."""
    module = types.SimpleNamespace(VideoCapture=_Capture, CAP_PROP_FRAME_COUNT=7)
    monkeypatch.setitem(sys.modules, "cv2", module)


def test_frames_of_a_video_are_pictures_of_their_own(opencv, tmp_path):
    (tmp_path / "ride.mp4").write_bytes(b"video")
    listing = list_pictures(str(tmp_path / "ride.mp4"), tmp_path / "out")
    found = list(listing.pictures([]))
    assert listing.count() == 3
    assert [(x.file, x.name) for x in found] == [
        (f"ride.mp4#{i}", f"ride_{i:06d}") for i in range(3)
    ]
    assert found[1].read()[0, 0].tolist() == [9, 0, 1], "OpenCV's BGR as RGB"


def test_a_video_without_a_frame_is_broken_and_stops_nothing(opencv, tmp_path):
    for name in ("broken.mp4", "ride.mp4"):
        (tmp_path / name).write_bytes(b"video")
    broken = []
    found = list(list_pictures(str(tmp_path / "*.mp4"), tmp_path / "out").pictures(broken))
    assert len(found) == 3 and len(broken) == 1
    assert "broken.mp4: no frame of this video can be decoded" in broken[0]


def test_imageio_reads_videos_where_opencv_is_absent(monkeypatch):
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(2)]
    module = types.SimpleNamespace(
        imiter=lambda path: iter(frames), improps=lambda path: types.SimpleNamespace(n_images=2)
    )
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "imageio", types.SimpleNamespace(v3=module))
    monkeypatch.setitem(sys.modules, "imageio.v3", module)
    assert video.count_frames("x.mp4") == 2
    assert [int(frame[0, 0, 0]) for frame in video.frames("x.mp4")] == [0, 1]


def test_a_video_without_a_library_says_what_to_install(monkeypatch):
    for name in ("cv2", "imageio", "imageio.v3"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="pip install opencv-python-headless"):
        video.count_frames("x.mp4")
