"""Reading images: what is readable becomes upright 8-bit RGB and says so, the rest is refused with a reason."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tag2mask.tasks.dataset.images import BadImage, find_images, read_image, read_rgb, resize
from tests.tasks.drawn_files import (
    pixels,
    save_bomb,
    save_image,
    save_raw_png,
    save_turned,
    save_twelve_bit_tiff,
    truncate,
)


def read(path: Path, maximum_megapixels: float = 1.0) -> tuple[np.ndarray, str]:
    """Pixels, and what was converted."""
    image = read_image(path, maximum_megapixels=maximum_megapixels)
    assert image.pixels.dtype == np.uint8 and image.pixels.ndim == 3 and image.pixels.shape[2] == 3
    return image.pixels, image.converted


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
def test_upright_rgb_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    """An upright 8-bit RGB file of any format is read unconverted, as the index reads its copy later."""
    path = save_image(tmp_path / f"a.{suffix}", 1)
    found, converted = read(path)
    assert converted == ""
    np.testing.assert_array_equal(found, read_rgb(path))
    assert np.abs(found.astype(int) - pixels(1)).mean() < 8


@pytest.mark.parametrize("mode, noted", [("L", "grayscale"), ("1", "grayscale"), ("P", "palette")])
def test_other_modes_become_rgb(tmp_path: Path, mode: str, noted: str) -> None:
    """Grayscale and palette images keep what they show and are noted as converted."""
    image = Image.fromarray(pixels(2)).convert(mode)
    image.save(tmp_path / "a.png")
    found, converted = read(tmp_path / "a.png")
    assert converted == noted
    np.testing.assert_array_equal(found, np.array(image.convert("RGB")))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    """A CMYK JPEG shows the colors it was made from."""
    Image.fromarray(pixels(3)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    found, converted = read(tmp_path / "a.jpg")
    assert converted == "CMYK"
    assert np.abs(found.astype(int) - pixels(3)).mean() < 5


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_gray_is_scaled(tmp_path: Path, suffix: str) -> None:
    """16-bit gray is scaled to 0..255, not cut off at 255."""
    values = np.array([[0, 257, 128 * 257], [65535, 254 * 257, 300]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    found, converted = read(tmp_path / f"a.{suffix}")
    assert converted == "16-bit"
    assert found[..., 0].tolist() == [[0, 1, 128], [255, 254, 1]]


def test_twelve_bit_gray_is_scaled(tmp_path: Path) -> None:
    """A TIFF of 12 bits a pixel, as microscopes write it, is scaled from 0..4095 and keeps its brightness."""
    path = save_twelve_bit_tiff(tmp_path / "a.tif", np.array([[0, 4095, 2056], [16, 4078, 300]]))
    found, converted = read(path)
    assert converted == "12-bit"
    assert found[..., 0].tolist() == [[0, 255, 128], [1, 254, 19]]


def test_sixteen_bit_color_is_noticed(tmp_path: Path) -> None:
    """A 16-bit color PNG counts as converted although the decoder hands out 8 bits."""
    row = b"\0" + struct.pack(">6H", 65535, 0, 257 * 7, 0, 65535, 257 * 9)
    save_raw_png(tmp_path / "a.png", (1, 2), 16, 2, row)
    found, converted = read(tmp_path / "a.png")
    assert converted == "16-bit"
    assert found.tolist() == [[[255, 0, 7], [0, 255, 9]]]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    """What is transparent becomes white, what is opaque keeps its color, half of it is in between."""
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    found, converted = read(tmp_path / "a.png")
    assert converted == "transparent"
    np.testing.assert_allclose(found[0], [[10, 20, 30], [255, 255, 255], [127, 127, 127]], atol=1)


def test_transparent_color_of_a_palette_is_laid_on_white(tmp_path: Path) -> None:
    """A palette entry declared transparent becomes white, too."""
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "a.png", transparency=0)
    found, converted = read(tmp_path / "a.png")
    assert converted == "transparent"
    assert found[0].tolist() == [[255, 255, 255], [0, 200, 0]]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation, upright", [(6, lambda p: np.rot90(p, -1)), (3, lambda p: np.rot90(p, 2))])
def test_camera_orientation_is_applied(
    tmp_path: Path, suffix: str, orientation: int, upright: Callable[[np.ndarray], np.ndarray]
) -> None:
    """An image taken with a turned camera stands upright, in every format that can say so."""
    path = save_turned(tmp_path / f"a.{suffix}", 4, orientation)
    found, converted = read(path)
    expected = upright(pixels(4))
    assert converted == "rotated by EXIF"
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", [2, 5, 6, 7, 8])
def test_a_turned_tiff_is_the_turned_png(tmp_path: Path, mode: str, orientation: int) -> None:
    """An uncompressed TIFF of any kind stands upright as the same pixels in a PNG, or turned by hand, do."""
    gray = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    image = Image.fromarray(gray.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(gray).convert(mode)
    turned = Image.Exif()
    turned[0x0112] = orientation
    image.save(tmp_path / "a.tif", exif=turned)
    plain = ImageOps.exif_transpose(_with(image, turned))
    plain.save(tmp_path / "b.tif")
    found, expected = read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0]
    assert found.shape == expected.shape and np.array_equal(found, expected)


def _with(image: Image.Image, exif: Image.Exif) -> Image.Image:
    """A copy that says how it is turned."""
    copy = image.copy()
    copy.getexif()[0x0112] = exif[0x0112]
    return copy


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_orientation_without_a_turn_changes_nothing(tmp_path: Path, orientation: int) -> None:
    """Orientation 1 and values that mean nothing leave the file unconverted."""
    assert read(save_turned(tmp_path / "a.jpg", 4, orientation))[1] == ""


def test_several_conversions_are_all_noted(tmp_path: Path) -> None:
    """A turned grayscale image is noted as both."""
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(pixels(5)).convert("L").save(tmp_path / "a.jpg", exif=exif)
    found, converted = read(tmp_path / "a.jpg")
    assert converted == "rotated by EXIF, grayscale"
    assert found.shape == (16, 12, 3)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    """An empty file is named as such."""
    (tmp_path / "a.jpg").touch()
    with pytest.raises(BadImage, match=r"a\.jpg: is empty .*copy it again"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    """A file cut short anywhere is refused instead of being filled with gray."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    truncate(tmp_path / f"a.{suffix}", share)
    with pytest.raises(BadImage, match=rf"a\.{suffix}: .*(damaged or cut short|not an image)"):
        read(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("content", [b"hello", b"\xff\xd8\xff" + b"\0" * 50, b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    """Text, garbage behind a JPEG's first bytes, and formats that run programs are refused."""
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadImage, match=r"a\.jpg: .*(save it again as JPEG or PNG|copy it again)"):
        read(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore")  # the decoder comments on what it finds
def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    """Whatever bytes are changed, a file is read or refused as a bad image."""
    rng = np.random.default_rng(7)
    for suffix in ("jpg", "png", "webp", "bmp", "tif"):
        whole = save_image(tmp_path / f"whole.{suffix}", 6).read_bytes()
        for trial in range(60):
            damaged = bytearray(whole)
            for position in rng.integers(0, len(whole), 1 + trial % 8):
                damaged[position] = rng.integers(0, 256)
            (tmp_path / f"a.{suffix}").write_bytes(damaged)
            try:
                read(tmp_path / f"a.{suffix}")
            except BadImage:
                pass


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_values_without_one_reading_are_refused(tmp_path: Path, mode: str) -> None:
    """Floating-point, 32-bit and CIELAB images are refused, since no scale to 0..255 is right for all."""
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(BadImage, match=f"a.tif: has mode {mode}.*8-bit RGB"):
        read(tmp_path / "a.tif")


def test_size_is_judged_by_the_header(tmp_path: Path) -> None:
    """A file that claims more megapixels than allowed is refused before decoding, with the setting's name."""
    path = save_bomb(tmp_path / "a.png", (4000, 5000))
    with pytest.raises(BadImage, match=r"5000x4000 = 20\.0 megapixels, above maximum_megapixels 10: shrink it"):
        read(path, 10)
    with pytest.raises(BadImage, match="damaged or cut short"):
        read(path, 20)


def test_bomb_is_refused_whatever_the_setting(tmp_path: Path) -> None:
    """Beyond what the decoder itself allows, raising the setting does not help."""
    with pytest.raises(BadImage, match=r"a\.png: is too large to be decoded safely .*shrink it"):
        read(save_bomb(tmp_path / "a.png", (60_000, 60_000)), 1e6)


def test_reason_is_the_same_everywhere(tmp_path: Path) -> None:
    """The reason names no folder, so that what is written of it does not depend on the machine."""
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(BadImage) as caught:
            read(tmp_path / "a.png")
        assert str(tmp_path) in str(caught.value) and str(tmp_path) not in caught.value.reason
        assert caught.value.where == tmp_path / "a.png"


def test_images_are_found_by_id(tmp_path: Path) -> None:
    """Images right in the folder are found under their names, whatever the case of the suffix; the rest is not."""
    for name in ("b.JPG", "a.png", "c.d.jpeg"):
        save_image(tmp_path / "x.png").rename(tmp_path / name)
    for name in (".hidden.jpg", "text.txt", "below/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = {"a": "a.png", "b": "b.JPG", "c.d": "c.d.jpeg"}
    assert list(find_images(tmp_path).items()) == [(image_id, tmp_path / name) for image_id, name in names.items()]


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    """Two images of the same name are refused by name, and so is a missing folder."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"a\.png: has the same id as a\.jpg"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find_images(tmp_path / "nowhere")


def test_resize_takes_height_then_width() -> None:
    """Maps and images are resized to (height, width); nearest invents no value; the same size changes nothing."""
    assert resize(pixels(0), (5, 7)).shape == (5, 7, 3)
    labels = np.array([[0, 255], [7, 0]], np.uint8)
    assert set(np.unique(resize(labels, (9, 5), nearest=True))) == {0, 7, 255}
    np.testing.assert_array_equal(resize(pixels(0), (12, 16)), pixels(0))
