"""Label maps and gray maps: what is written is read back, and nothing is read as labels that is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.tasks.dataset.label_maps import read_gray, read_labels, voc_palette, write_gray, write_labels
from tests.tasks.drawn_files import save_bomb, save_image, save_raw_png, truncate

LABELS = np.arange(256, dtype=np.uint8).reshape(8, 32)


def test_labels_and_gray_maps_return_unchanged(tmp_path: Path) -> None:
    """Every value survives, labels in a palette image and saliency in a gray one, with the same bytes each time."""
    for number in range(2):
        write_labels(tmp_path / f"labels{number}.png", LABELS)
        write_gray(tmp_path / f"gray{number}.png", LABELS)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels0.png"), LABELS)
    np.testing.assert_array_equal(read_gray(tmp_path / "gray0.png"), LABELS)
    assert (tmp_path / "labels0.png").read_bytes() == (tmp_path / "labels1.png").read_bytes()
    with Image.open(tmp_path / "labels0.png") as labels, Image.open(tmp_path / "gray0.png") as gray:
        assert (labels.mode, gray.mode) == ("P", "L")
        np.testing.assert_array_equal(np.array(labels.convert("RGB")), voc_palette()[LABELS])


def test_slices_are_written_as_they_look(tmp_path: Path) -> None:
    """A map that is a strided view is written as its values stand."""
    write_labels(tmp_path / "a.png", LABELS.T[::2])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS.T[::2])


def test_palette_is_that_of_voc() -> None:
    """The first colors and the one of void are VOC's."""
    palette = voc_palette()
    assert palette.shape == (256, 3)
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[[0, 1, 2, 3, 15, 20]].tolist() == [*first, [192, 128, 128], [0, 64, 128]]
    assert palette[255].tolist() == [224, 224, 192]
    assert len({tuple(color) for color in palette.tolist()}) == 256


@pytest.mark.parametrize("wrong", [LABELS.astype(np.int64), LABELS[None], LABELS > 3])
@pytest.mark.parametrize("write", [write_labels, write_gray])
def test_other_arrays_are_not_written(
    tmp_path: Path, wrong: np.ndarray, write: Callable[[Path, np.ndarray], Path]
) -> None:
    """An array of another type or rank is refused and leaves no file."""
    with pytest.raises(ValueError, match=r"must be \(H, W\) uint8"):
        write(tmp_path / "a.png", wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_other_modes_are_refused(tmp_path: Path, mode: str) -> None:
    """An image whose values are no class numbers is refused with its mode."""
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"a\.png: has mode {mode}; .*palette or gray PNG"):
        read_labels(tmp_path / "a.png")


def test_palettes_of_few_bits_keep_their_numbers(tmp_path: Path) -> None:
    """A palette PNG packed to 1, 2 or 4 bits is read as the same class numbers."""
    for bits in (1, 2, 4):
        values = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
        image = Image.frombytes("P", (8, 2), values.tobytes())
        image.putpalette(voc_palette().tobytes())
        image.save(tmp_path / "a.png", bits=bits)
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), values)


def test_gray_of_few_bits_is_refused(tmp_path: Path) -> None:
    """A 4-bit gray PNG, which decoders stretch so that class 1 becomes 17, is refused."""
    save_raw_png(tmp_path / "a.png", (1, 2), 4, 0, b"\0\x01")
    with pytest.raises(ValueError, match=r"a\.png: has fewer than 8 bits a pixel"):
        read_labels(tmp_path / "a.png")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Empty and truncated files, bombs, other formats and text are refused by name."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 50)).astype(np.uint8)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    truncate(write_gray(tmp_path / "short.png", noise))
    save_bomb(tmp_path / "bomb.png", (60_000, 60_000))
    save_image(tmp_path / "x.jpg").rename(tmp_path / "jpeg.png")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=rf"{path.name}: is no PNG image that can be read whole"):
            read_labels(path)
    with pytest.raises(FileNotFoundError):
        read_labels(tmp_path / "nowhere.png")


def test_gray_maps_with_a_palette_are_what_the_palette_says(tmp_path: Path) -> None:
    """A gray map that was packed into a palette is read as its grays, one of colors is refused."""
    gray = np.array([[0, 63, 127], [255, 255, 0]], np.uint8)
    Image.fromarray(gray).quantize(4).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as packed:
        assert packed.mode == "P" and set(np.unique(np.array(packed))) == {0, 1, 2, 3}
    np.testing.assert_array_equal(read_gray(tmp_path / "a.png"), gray)
    write_labels(tmp_path / "labels.png", LABELS)
    with pytest.raises(ValueError, match=r"labels\.png: has a palette of colors; a map is an 8-bit gray PNG"):
        read_gray(tmp_path / "labels.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png: has mode RGB; a map is an 8-bit gray PNG"):
        read_gray(tmp_path / "b.png")
