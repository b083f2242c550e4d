"""Class maps on disk: cutting off, and reading at the image's size."""

from pathlib import Path

import numpy as np

from tag2mask.tasks.dataset.class_maps import normalize_map, read_class_maps


def test_maps_are_cut_off_at_their_own_maximum() -> None:
    """Each map is divided by its maximum and cut off to 8 bits, and one without evidence stays zero."""
    activation = np.array([[[0.5, 1.0], [0.25, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[3.0, 200.0], [100.0, 1.0]]])
    expected = [[[127, 254], [63, 0]], [[0, 0], [0, 0]], [[3, 254], [127, 1]]]
    found = normalize_map(activation)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.array(expected)).max() <= 1 and not found[1].any()
    assert found[2, 0, 0] == int(3 / 200 * 255)  # 3.825 is cut off, not rounded


def test_maps_are_read_at_the_images_size(tmp_path: Path) -> None:
    """A stored peak lies at its place in the image, values lie on 8-bit steps in [0, 1], and flat stays flat."""
    stored = np.zeros((2, 4, 6), np.uint8)
    stored[0, 1, 4], stored[1] = 255, 51
    np.savez(tmp_path / "a.npz", maps=stored, numbers=np.array([2, 7], np.uint8))
    maps, numbers = read_class_maps(tmp_path / "a.npz", (40, 90))
    assert maps.shape == (2, 40, 90) and maps.dtype == np.float32 and numbers.tolist() == [2, 7]
    row, column = divmod(int(maps[0].argmax()), 90)
    assert abs(row - 14.5) <= 1 and abs(column - 67) <= 1
    assert np.all(maps[1] == np.float32(51 / 255))
    assert maps.min() >= 0 and maps.max() <= 1
    assert np.allclose(maps * 255, np.round(maps * 255), atol=1e-4)


def test_an_image_without_tags_has_no_maps(tmp_path: Path) -> None:
    """No tag gives no map, at the image's size."""
    np.savez(tmp_path / "a.npz", maps=np.zeros((0, 4, 4), np.uint8), numbers=np.zeros(0, np.uint8))
    maps, numbers = read_class_maps(tmp_path / "a.npz", (5, 6))
    assert maps.shape == (0, 5, 6) and len(numbers) == 0
