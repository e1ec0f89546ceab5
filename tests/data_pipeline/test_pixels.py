"""What image files say beyond 8-bit RGB: applied, scaled, composed or refused by rule, the same by
every reader, never a stack trace.
"""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import seg_files
from PIL import Image, ImageOps
from pixel_files import chunk, exif, noise, photo, png, saved

from data_pipeline import decode, pixels
from data_pipeline.check import check_data
from data_pipeline.classification.folder import read_folder
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.decode import (
    DataError,
    decode_picture,
    image_size_hw,
    read_image,
    read_picture,
)
from data_pipeline.given import as_pixels
from data_pipeline.segmentation import part_reader
from data_pipeline.segmentation.id_png import read_ids, read_synthia_ids
from data_pipeline.segmentation.readers import read_domain


def to_bytes(values):
    """16-bit values as bytes, after the rule and in floats."""
    return np.rint(values.astype(np.float64) * 255 / 65535).astype(np.uint8)


def over_white(rgba):
    alpha = rgba[..., 3:].astype(np.float64) / 255
    return np.rint(alpha * rgba[..., :3] + (1 - alpha) * 255).astype(np.uint8)


@pytest.fixture
def read(tmp_path):
    """bytes -> Picture. Every reader of both tasks must give the same pixels, and the header the
    same size.
    """

    def read_everywhere(data):
        path = tmp_path / "image.png"
        path.write_bytes(data)
        picture = read_picture(path)
        assert (
            picture.pixels.dtype == np.uint8
            and picture.pixels.ndim == 3
            and picture.pixels.shape[2] == 3
        )
        for found in (
            read_image(path),
            read_image(path, plain_png=part_reader._decode_png),
            decode_picture(data, "x").pixels,
        ):
            np.testing.assert_array_equal(found, picture.pixels)
        assert image_size_hw(path) == picture.pixels.shape[:2]
        return picture

    return read_everywhere


ORDINARY = {
    "RGB PNG": png(noise(5, 7, 3)),
    "grey PNG": png(noise(5, 7, 1)),
    "1 bit": png(noise(5, 7, 1) % 2, bits=1),
    "2 bits": png(noise(5, 7, 1) % 4, bits=2),
    "4 bits": png(noise(5, 7, 1) % 16, bits=4),
    "palette": saved(photo(9, 12).quantize(7), "PNG"),
    "RGB JPEG": saved(photo(40, 30), "JPEG"),
    "grey JPEG": saved(photo(40, 30).convert("L"), "JPEG"),
    "progressive JPEG": saved(photo(40, 30), "JPEG", progressive=True),
    "BMP": saved(photo(9, 12), "BMP"),
    "palette BMP": saved(photo(9, 12).quantize(7), "BMP"),
    "GIF": saved(photo(9, 12), "GIF"),
    "WebP": saved(photo(9, 12), "WEBP"),
    "opaque alpha": png(np.dstack([noise(5, 7, 3), np.full((5, 7), 255, np.uint8)])),
}


@pytest.mark.parametrize("data", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_files_give_the_values_that_they_hold(read, data):
    picture = read(data)
    np.testing.assert_array_equal(
        picture.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )
    assert picture.treatments == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_brought_to_eight(read, channels):
    samples = noise(6, 5, channels, dtype=np.uint16)
    # either side of a half, and the ends
    samples[0, :, :] = [[257 * 40], [257 * 40 + 128], [257 * 40 + 129], [65535], [0]]
    if channels % 2 == 0:
        samples[..., -1] = 65535
    colors = samples[..., : channels - (channels % 2 == 0)]
    picture = read(png(samples))
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to(to_bytes(colors), (6, 5, 3)))
    assert picture.pixels[0, 1, 0] == 40 and picture.pixels[0, 2, 0] == 41
    assert picture.treatments == (pixels.SIXTEEN_BIT,)


def test_sixteen_bit_alpha_is_composed_before_it_is_rounded(read):
    samples = noise(6, 5, 4, dtype=np.uint16)
    alpha = samples[..., 3:] / 65535.0
    picture = read(png(samples))
    np.testing.assert_array_equal(
        picture.pixels, to_bytes(alpha * samples[..., :3] + (1 - alpha) * 65535)
    )
    assert picture.treatments == (pixels.SIXTEEN_BIT, pixels.TRANSPARENT)


def palette_png(transparency):
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8)).convert("P")
    image.putdata([0, 1, 2, 2, 1, 0])
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    return saved(image, "PNG", transparency=transparency)


COLORS = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
RGBA, GREY_ALPHA = noise(5, 7, 4), noise(5, 7, 2)


def keyed(samples, key, **options):
    """A PNG file with one transparent colour (tRNS), `key` in the samples' own depth."""
    return png(samples, before=chunk(b"tRNS", np.array(key, ">u2").tobytes()), **options)


def test_alpha_is_laid_over_white(read):
    for data, expected in (
        (png(RGBA), over_white(RGBA)),
        (png(GREY_ALPHA), over_white(GREY_ALPHA[..., [0, 0, 0, 1]])),
        (saved(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True), over_white(RGBA)),
        (
            palette_png(1),
            over_white(np.concatenate([COLORS, [[255], [0], [255]]], 1)[[[0, 1, 2], [2, 1, 0]]]),
        ),
        (
            palette_png(bytes([255, 90, 0])),
            over_white(np.concatenate([COLORS, [[255], [90], [0]]], 1)[[[0, 1, 2], [2, 1, 0]]]),
        ),
    ):
        picture = read(data)
        np.testing.assert_array_equal(picture.pixels, expected)
        assert picture.treatments == (pixels.TRANSPARENT,)


def test_a_transparent_colour_is_white_at_every_depth(read):
    for bits in (1, 2, 4, 8):
        samples = np.arange(2**bits, dtype=np.uint8).reshape(2, -1, 1)
        for key in (0, 2**bits - 1, 2 ** (bits - 1)):
            values = samples * (255 // (2**bits - 1))
            picture = read(keyed(samples, [key], bits=bits))
            np.testing.assert_array_equal(
                picture.pixels,
                np.repeat(np.where(samples == key, 255, values), 3, -1),
                err_msg=f"{bits} bits, {key}",
            )
            assert picture.treatments == (pixels.TRANSPARENT,)
    samples = noise(4, 4, 3)
    expected = samples.copy()
    expected[1, 2] = 255
    np.testing.assert_array_equal(read(keyed(samples, samples[1, 2])).pixels, expected)
    deep = noise(4, 4, 3, dtype=np.uint16)
    expected = to_bytes(deep)
    expected[1, 2] = 255
    np.testing.assert_array_equal(read(keyed(deep, deep[1, 2])).pixels, expected)
    assert read(keyed(np.zeros((2, 2, 1), np.uint8), [7])).treatments == (), (
        "no pixel has that colour"
    )


def test_an_image_without_a_visible_pixel_is_refused(tmp_path):
    unseen = np.dstack([noise(5, 7, 3), np.zeros((5, 7), np.uint8)])
    for data in (
        png(unseen),
        png(unseen.astype(np.uint16)),
        keyed(np.full((3, 3, 1), 9, np.uint8), [9]),
    ):
        with pytest.raises(
            DataError, match="x: every pixel is transparent.*save it without its alpha channel"
        ):
            decode_picture(data, "x")


def test_cmyk_is_converted_by_the_plain_formula(read):
    image = photo(24, 32).convert("CMYK")
    picture = read(saved(image, "JPEG", quality=100))
    assert picture.treatments == (pixels.CMYK,)
    difference = np.abs(picture.pixels.astype(int) - np.asarray(image.convert("RGB")))
    assert difference.max() < 12, "what JPEG loses"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied_by_every_reader(read, orientation):
    expected = (pixels.TURNED,) if orientation > 1 else ()
    jpeg = saved(photo(24, 40), "JPEG", exif=b"Exif\0\0" + exif(orientation))
    samples = noise(4, 6, 3)
    upright = ImageOps.exif_transpose(
        Image.open(io.BytesIO(png(samples, before=chunk(b"eXIf", exif(orientation)))))
    )
    xmp = f'<x tiff:Orientation="{orientation}"/>'.encode()
    for data, wanted in (
        (jpeg, ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg)))),
        (png(samples, before=chunk(b"eXIf", exif(orientation))), upright),
        (png(samples, after=chunk(b"eXIf", exif(orientation))), upright),
        (png(samples, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)), upright),
    ):
        picture = read(data)
        np.testing.assert_array_equal(picture.pixels, np.asarray(wanted))
        assert picture.treatments == expected


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_does_not_spoil_an_image(read):
    for broken in (exif(9), exif(0), exif(6)[:9], b"\xff" * 40, b""):
        assert read(png(noise(4, 6, 3), before=chunk(b"eXIf", broken))).treatments == ()


def test_of_several_frames_the_first_is_read(read):
    first, second = photo(9, 12), photo(9, 12).transpose(Image.Transpose.ROTATE_180)
    for form in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        picture = read(saved(first, form, save_all=True, append_images=[second], **options))
        np.testing.assert_array_equal(picture.pixels, read(saved(first, form, **options)).pixels)
        assert picture.treatments == (pixels.SEVERAL_FRAMES,)


def test_a_colour_profile_other_than_srgb_is_mentioned_and_changes_nothing(read):
    plain = saved(photo(9, 12), "PNG")
    for profile, treatments in (
        (b"Display P3", (pixels.PROFILE,)),
        (b"sRGB IEC61966-2.1", ()),
        ("sRGB".encode("utf-16-be"), ()),
    ):
        picture = read(saved(photo(9, 12), "PNG", icc_profile=profile))
        assert picture.treatments == treatments
        np.testing.assert_array_equal(picture.pixels, read(plain).pixels)


def test_no_other_format_is_opened_and_no_program_started(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    postscript = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n20 20 scale\nshowpage\n"
    )
    for data, says in (
        (postscript, "it is PostScript"),
        (saved(photo(4, 4), "TIFF"), "it is TIFF"),
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (saved(photo(4, 4), "ICO"), "no image format"),
        (saved(photo(4, 4), "PPM"), "no image format"),
    ):
        path = tmp_path / "photo.jpg"
        path.write_bytes(data)
        for function in (read_picture, image_size_hw):
            with pytest.raises(
                DataError,
                match=(
                    f"photo.jpg: cannot be decoded: .*{says}.*; expected JPEG, PNG, BMP, GIF or "
                    "WebP"
                ),
            ):
                function(path)


BOMBS = {
    "PNG": png(np.zeros((1, 1, 3), np.uint8), size=(20000, 20000)),
    "a PNG that PIL would read": png(np.zeros((1, 1, 1), np.uint8), bits=1, size=(16385, 8192)),
    "BMP": (
        saved(photo(4, 4), "BMP")[:18]
        + b"\x20\x4e\0\0\x20\x4e\0\0"
        + saved(photo(4, 4), "BMP")[26:]
    ),
    "GIF": saved(photo(4, 4), "GIF")[:6] + b"\x20\x4e\x20\x4e" + saved(photo(4, 4), "GIF")[10:],
}
_JPEG = saved(photo(8, 8), "JPEG")
# of the frame header: marker, its length, bits a sample, then height and width
_SIZE_AT = _JPEG.index(b"\xff\xc0") + 5
BOMBS["JPEG"] = _JPEG[:_SIZE_AT] + b"\x4e\x20\x4e\x20" + _JPEG[_SIZE_AT + 4 :]


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_an_image_too_large_to_decode_is_refused_by_its_header(tmp_path, data):
    path = tmp_path / "scan.png"
    path.write_bytes(data)
    says = (
        r"(20000x20000|16385x8192) pixels \(width x height\), (400,000,000|134,225,920) in all; "
        r"expected at most 134,217,728: make it smaller"
    )
    for function in (
        read_picture,
        image_size_hw,
        lambda path: read_image(path, plain_png=part_reader._decode_png),
    ):
        with pytest.raises(DataError, match=f"scan.png: {says}"):
            function(path)
    if data[1:4] == b"PNG":
        for function in (read_ids, read_synthia_ids):
            with pytest.raises(DataError, match=f"scan.png: {says}"):
                function(path)


def test_the_bound_leaves_room_for_the_frames_of_all_data_sets():
    # Cityscapes, cameras, a phone's 108 megapixels
    for width, height in ((2048, 1024), (4000, 6000), (12000, 9000)):
        decode.check_num_pixels(width, height, "x")


def damaged(data, rng):
    """A copy that is cut, or has a few bytes overwritten."""
    if rng.random() < 0.3:
        return data[: rng.integers(len(data))]
    spoilt = bytearray(data)
    for position in rng.integers(0, len(data), rng.integers(1, 6)):
        spoilt[position] = rng.integers(256)
    return bytes(spoilt)


@pytest.mark.filterwarnings("ignore")  # PIL's, of what it finds in broken files
def test_whatever_is_in_a_file_it_is_an_image_or_one_line_that_names_it(tmp_path):
    rng, path, refused = np.random.default_rng(0), tmp_path / "some.png", 0
    whole = [
        *ORDINARY.values(),
        png(RGBA),
        palette_png(bytes([9, 0])),
        png(noise(4, 4, 3), before=chunk(b"eXIf", exif(6))),
        saved(photo(9, 12), "GIF", save_all=True, append_images=[photo(9, 12).rotate(90)]),
        *BOMBS.values(),
    ]
    for data in whole:
        for _ in range(25):
            path.write_bytes(damaged(data, rng))
            for function in (read_image, image_size_hw, read_ids):
                try:
                    function(path)
                except DataError as error:
                    refused += 1
                    assert (
                        "some.png: " in str(error)
                        and "\n" not in str(error)
                        and len(str(error)) < 600
                    )
    assert refused > 500, "the damage does not reach the readers"


def test_what_pil_raises_of_its_own_accord_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(ORDINARY["RGB PNG"])
    for error in (
        Image.DecompressionBombError("too large"),
        KeyError(3),
        MemoryError(),
        RuntimeError("two\nlines"),
    ):

        def load(self, error=error):
            raise error

        monkeypatch.setattr(decode.PngImagePlugin.PngImageFile, "load", load)
        said = (
            "it has more than 134,217,728 pixels"
            if isinstance(error, Image.DecompressionBombError)
            else type(error).__name__
        )
        for function in (read_picture, read_ids):
            if function is read_ids:
                (tmp_path / "a.png").write_bytes(ORDINARY["grey PNG"])
            with pytest.raises(
                DataError, match=rf"a.png: cannot be decoded: {said}.*; (replace|download)"
            ):
                function(str(tmp_path / "a.png"))


def test_labels_are_never_composed_scaled_or_turned(tmp_path):
    path, ids = str(tmp_path / "label.png"), np.array([[0, 1, 2], [2, 1, 0]], np.uint8)

    def written(data):
        with open(path, "wb") as file:
            file.write(data)
        return path

    np.testing.assert_array_equal(read_ids(written(palette_png(bytes([255, 90, 0])))), ids)
    np.testing.assert_array_equal(read_ids(written(keyed(ids[..., None], [1]))), ids)
    deep = noise(3, 4, 1, dtype=np.uint16)
    np.testing.assert_array_equal(read_ids(written(png(deep))), deep[..., 0])
    np.testing.assert_array_equal(
        read_ids(written(png(ids[..., None], before=chunk(b"eXIf", exif(1))))), ids
    )
    for data, says in (
        (png(GREY_ALPHA), "8-bit grey and alpha PNG"),
        (png(ids[..., None], bits=4), "4-bit grey PNG"),
        (
            png(ids[..., None], before=chunk(b"eXIf", exif(3))),
            "has an orientation.*save it upright",
        ),
        (png(ids[..., None], after=chunk(b"eXIf", exif(6))), "has an orientation"),
        (
            saved(
                photo(4, 4).convert("L"),
                "PNG",
                save_all=True,
                append_images=[photo(4, 4).convert("L").rotate(90)],
            ),
            "several frames",
        ),
    ):
        with pytest.raises(DataError, match=f"label.png: .*{says}"):
            read_ids(written(data))
    colors = noise(3, 4, 4, dtype=np.uint16)
    np.testing.assert_array_equal(read_synthia_ids(written(png(colors))), colors[..., 0])


def test_check_data_counts_treatments_and_goes_on_after_any_file(tmp_path):
    for name, data in (
        ("0.png", png(RGBA)),
        ("1.png", png(noise(5, 7, 4))),
        ("2.png", png(noise(5, 7, 1, dtype=np.uint16))),
        ("3.png", BOMBS["PNG"]),
        ("4.png", b"%!PS-Adobe"),
        ("5.png", ORDINARY["RGB PNG"]),
    ):
        for folder in ("photos/cup", "images"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos/cup" / name).write_bytes(data)
        (tmp_path / "images" / name).write_bytes(data)
        seg_files.write_ids(tmp_path / "labels" / name, np.full((5, 7), 7))
    (tmp_path / "labels/5.png").write_bytes(
        png(noise(5, 7, 1) * 0 + 7, before=chunk(b"eXIf", exif(3)))
    )
    seg_files.write_classes(tmp_path, seg_files.ROAD)
    for what in (
        read_folder(tmp_path / "photos", "cup"),
        seg_files.own(tmp_path),
    ):
        lines, is_ok = check_data.check([("target", what)], lambda done, total: None)
        text = "\n".join(lines)
        assert (
            not is_ok
            and "2 images have transparent pixels, which are laid over white: " in text
            and "0.png for one" in text
        )
        assert "1 images have 16 bits a channel" in text
        unreadable = [line for line in lines if line.startswith("  unreadable: ")]
        assert (
            "3.png: 20000x20000 pixels" in unreadable[0]
            and "4.png: cannot be decoded: it is PostScript" in unreadable[1]
        )
    assert "labels/5.png: has an orientation" in unreadable[2] and len(unreadable) == 3


def test_a_label_must_fit_the_upright_image(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(saved(photo(8, 12), "JPEG", exif=b"Exif\0\0" + exif(6)))
    seg_files.write_classes(tmp_path, seg_files.ROAD)
    config = seg_files.own(tmp_path)
    seg_files.write_ids(tmp_path / "labels/a.png", np.full((12, 8), 7))
    assert (
        read_domain(config).read_label(0).shape
        == read_domain(config).read_image(0).shape[:2]
        == (12, 8)
    )
    lines, is_ok = check_data.check([("target", config)], lambda done, total: None)
    assert (
        is_ok
        and "1 images have an orientation in their EXIF, and are turned upright" in "\n".join(lines)
    )
    seg_files.write_ids(tmp_path / "labels/a.png", np.full((8, 12), 7))
    with pytest.raises(
        DataError,
        match=(
            "labels/a.png: the label is 12x8 and its image 8x12 .*has an orientation in its EXIF, "
            "it is applied to the image alone"
        ),
    ):
        read_domain(config).read_label(0)


def test_a_record_that_cannot_be_read_is_named():
    class Records(list):
        def __getitem__(self, index):
            raise RuntimeError("corrupt\nshard")

    images = ImageSet("tfds:x", ("a",), np.zeros(1, np.int32), records=Records([b"1"]))
    with pytest.raises(
        DataError,
        match=(
            r"tfds:x\[0\]: cannot be read: RuntimeError corrupt shard; prepare the data set again"
        ),
    ):
        images.read(0)
    lines, is_ok = check_data.check([("target", images)], lambda done, total: None)
    assert not is_ok and "tfds:x[0]: cannot be read" in "\n".join(lines)


def test_decoding_needs_no_tensorflow_for_eight_bits(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGBA))
    program = (
        "import sys; from data_pipeline.decode import read_image; read_image(sys.argv[1]); assert "
        "'tensorflow' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")],
        check=True,
        cwd=os.path.dirname(os.path.dirname(decode.__file__)),
    )


def test_an_image_that_pil_has_opened_gives_the_pixels_of_its_file(tmp_path):
    """Turned upright, transparency over white, palettes as colours."""
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (5, 7, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rgba[..., :3]).save(tmp_path / "b.jpg", exif=turned)
    Image.fromarray(rgba[..., :3]).quantize(4).save(tmp_path / "c.png")
    for name in ("a.png", "b.jpg", "c.png"):
        given = as_pixels(Image.open(tmp_path / name))
        np.testing.assert_array_equal(given, read_image(tmp_path / name))
    grey = as_pixels(Image.fromarray(rgba[..., 0]), channels=1)
    np.testing.assert_array_equal(grey[..., 0], rgba[..., 0])
    (tmp_path / "d.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:-40])
    with pytest.raises(DataError, match="d.jpg: cannot be decoded"):
        as_pixels(Image.open(tmp_path / "d.jpg"))
