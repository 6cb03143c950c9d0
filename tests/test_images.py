"""Every kind of image a user may have, and every way it may be broken."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.pictures import images
from anomaly.pictures.images import ImageError, read_image

H, W = 24, 36


@pytest.fixture(scope="module")
def photo():
    """A smooth RGB picture whose four corners differ, so that turns and swapped channels show."""
    y, x = np.mgrid[0:H, 0:W]
    return np.stack([x * 7, y * 10, (x + y) * 4], axis=2).astype(np.uint8)


def _save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "Maß 7 (Größe).PNG", "no_extension"])
def test_lossless_rgb_comes_back_as_it_was(tmp_path, photo, name):
    path = tmp_path / name
    Image.fromarray(photo).save(path, format=None if "." in name else "PNG")
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
    assert np.array_equal(image, photo)


@pytest.mark.parametrize(("name", "options"), [("a.webp", {"lossless": True}), ("a.jpg", {"quality": 98})])
def test_webp_and_jpeg(tmp_path, photo, name, options):
    assert np.abs(read_image(_save(tmp_path / name, photo, **options)).astype(int) - photo).max() < 30


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "pgm", "gif"])
def test_grey(tmp_path, photo, extension):
    image = read_image(_save(tmp_path / f"a.{extension}", photo[..., 0]))
    assert np.array_equal(image, np.repeat(photo[..., :1], 3, axis=2))


def test_black_and_white(tmp_path):
    bits = np.eye(5, dtype=bool)
    image = read_image(_save(tmp_path / "a.png", bits))
    assert np.array_equal(image[..., 1], np.where(bits, 255, 0))


def test_transparency_is_laid_on_white(tmp_path, photo):
    alpha = np.full((H, W), 255, np.uint8)
    alpha[0, :3] = 0, 128, 255
    image = read_image(_save(tmp_path / "a.png", np.dstack([photo // 2, alpha])))
    assert np.array_equal(image[1:], photo[1:] // 2)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == pytest.approx(255 - 128 / 255 * (255.0 - photo[0, 1] // 2), abs=1)


def test_grey_with_alpha(tmp_path):
    image = read_image(_save(tmp_path / "a.png", np.array([[[10, 255], [10, 0]]], np.uint8)))
    assert image[0, :, 0].tolist() == [10, 255]


def test_palette_with_and_without_transparency(tmp_path, photo):
    flat = (photo // 64) * 64
    palette = Image.fromarray(flat).quantize(128, dither=Image.Dither.NONE)
    palette.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "b.png", transparency=int(np.asarray(palette)[0, 0]))
    assert read_image(tmp_path / "b.png")[0, 0].tolist() == [255, 255, 255]


def test_cmyk_jpeg(tmp_path):
    red = Image.new("RGB", (16, 16), (220, 30, 20)).convert("CMYK")
    red.save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (220, 30, 20)).max() < 12


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_grey_is_scaled_from_the_full_range(tmp_path, extension):
    deep = np.array([[0, 257, 25700, 65535]], np.uint16)
    path = tmp_path / f"a.{extension}"
    assert cv2.imwrite(str(path), deep)
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 100, 255]


def test_12_bit_values_in_a_16_bit_file_are_not_left_black(tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.array([[0, 2048, 4095]], np.uint16))
    assert read_image(path)[0, :, 2].tolist() == [0, 128, 255]


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_colour(tmp_path, photo, extension):
    path = tmp_path / f"a.{extension}"
    deep = photo.astype(np.uint16) * 257
    if extension == "tif":
        tifffile.imwrite(path, deep, photometric="rgb")
    else:
        assert cv2.imwrite(str(path), np.ascontiguousarray(deep[..., ::-1]))
    assert np.array_equal(read_image(path), photo)


def test_16_bit_colour_with_alpha(tmp_path):
    bgra = np.array([[[0, 0, 65535, 65535], [0, 0, 65535, 0]]], np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.png"), bgra)
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1], [0, 128, 255]), ([0, 100, 254.6], [0, 100, 255]), ([0, 65535], [0, 255])],
)
def test_float_tiff(tmp_path, values, expected):
    tifffile.imwrite(tmp_path / "a.tiff", np.array([values], np.float32))
    assert read_image(tmp_path / "a.tiff")[0, :, 0].tolist() == expected


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "NaN"), (-3.0, "found -3 to"), (1e6, "0-65535")])
def test_float_tiff_without_a_meaning_is_refused(tmp_path, value, reason):
    tifffile.imwrite(tmp_path / "a.tiff", np.array([[0, value]], np.float32))
    with pytest.raises(ImageError, match=reason):
        read_image(tmp_path / "a.tiff")


def test_first_page_and_first_frame(tmp_path, photo):
    pages = [Image.fromarray(photo), Image.fromarray(photo[::-1])]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        assert np.array_equal(read_image(tmp_path / name), photo)
    grey = [page.convert("L") for page in pages]
    grey[0].save(tmp_path / "a.gif", save_all=True, append_images=grey[1:])
    assert np.array_equal(read_image(tmp_path / "a.gif")[..., 0], np.asarray(grey[0]))


ORIENTED = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}  # how a camera held that way stores the upright picture


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
def test_exif_orientation(tmp_path, photo, orientation, extension):
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(ORIENTED[orientation](photo))
    options = {"quality": 98} if extension == "jpg" else {"lossless": True} if extension == "webp" else {}
    path = _save(tmp_path / f"a.{extension}", stored, exif=exif, **options)
    image = read_image(path)
    assert image.shape == photo.shape
    assert np.abs(image.astype(int) - photo).max() < 30


@pytest.mark.parametrize("orientation", ORIENTED)
def test_orientation_of_16_bit_colour(tmp_path, photo, orientation):
    stored = np.ascontiguousarray(ORIENTED[orientation](photo)).astype(np.uint16) * 257
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extratags=tag)
    assert np.array_equal(read_image(tmp_path / "a.tif"), photo)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3)])
def test_one_pixel_and_one_line(tmp_path, shape):
    image = read_image(_save(tmp_path / "a.png", np.full(shape, 7, np.uint8)))
    assert image.shape == shape and (image == 7).all()


@pytest.mark.slow
def test_12000_by_9000_pixels_without_a_warning(tmp_path):
    Image.new("1", (12_000, 9_000), 1).save(tmp_path / "large.png")
    image = read_image(tmp_path / "large.png")
    assert image.shape == (9_000, 12_000, 3) and image[-1, -1].tolist() == [255, 255, 255]


def test_threads_with_damaged_metadata_leave_the_warnings_filter_alone(tmp_path, photo):
    path = _save(tmp_path / "a.jpg", photo, exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x05\x01\x0f")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        shapes = {image.shape for image in pool.map(read_image, [path] * 40)}
    assert shapes == {photo.shape}
    assert list(warnings.filters) == before


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, photo, monkeypatch):
    path = _save(tmp_path / "a.png", photo)
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(images, "MAX_PIXELS", H * W - 1)
    with pytest.raises(ImageError, match="36 x 24 pixels"):
        read_image(path)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "bmp", "webp", "gif", "ppm"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_truncated_files_are_refused_not_half_read(tmp_path, extension, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    path = _save(tmp_path / f"a.{extension}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.path == path and caught.value.reason and "\n" not in caught.value.reason


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_truncated_16_bit_colour(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    deep = np.random.default_rng(0).integers(0, 65536, (64, 96, 3), dtype=np.uint16)
    assert cv2.imwrite(str(path), deep)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ImageError):
        read_image(path)


def test_jpeg_without_its_last_bytes(tmp_path, photo):
    path = _save(tmp_path / "a.jpg", photo, quality=95)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        read_image(path)


def test_what_is_no_image(tmp_path):
    (tmp_path / "zero.png").touch()
    (tmp_path / "text.jpg").write_text("<svg/>")
    (tmp_path / "folder.png").mkdir()
    postscript = io.BytesIO()
    Image.new("RGB", (4, 4)).save(postscript, "EPS")
    (tmp_path / "eps.png").write_bytes(postscript.getvalue())
    for name, reason in {
        "zero.png": "0 bytes",
        "text.jpg": "not an image of a known format",
        "folder.png": "folder",
        "eps.png": "not an image of a known format",
        "lost.png": "no such file",
    }.items():
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)


def test_the_error_is_one_of_ours_and_names_the_file(tmp_path):
    with pytest.raises(SteerAnomalyError, match=r"lost\.png: no such file"):
        read_image(str(tmp_path / "lost.png"))
