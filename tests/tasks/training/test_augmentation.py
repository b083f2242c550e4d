"""Random changes: pixels and labels move together, and a change depends on its seed alone."""

import numpy as np
import pytest

from tag2mask.tasks.networks.tensors import MEAN_COLOR
from tag2mask.tasks.training.augmentation import (
    jitter_colors,
    mirror_and_rotate,
    mirror_and_rotate_regions,
    paste_objects,
    scale_and_crop,
)
from tag2mask.tasks.training.loop import seeded

SIZE = (40, 56)


def chart(size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W, 3) whose red tells the row and whose green tells the column, and labels (H, W) that follow."""
    row, column = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([4 * row + 20, 4 * column + 20, np.zeros_like(row)], axis=-1).astype(np.uint8)
    return pixels, labels_at(row, column)


def labels_at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Label of a place: one of sixteen, constant on 10x10 pixels."""
    return np.asarray(row // 10 * 4 + column // 10 % 4, np.uint8)


def place_of(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column that pixels stand for."""
    values = pixels.astype(float)
    return (values[..., 0] - 20) / 4, (values[..., 1] - 20) / 4


def far_from_borders(row: np.ndarray, column: np.ndarray, by: float = 1.5) -> np.ndarray:
    """Where a place is so far from where the labels change that resampling cannot matter."""
    near = [(v % 10 < by) | (v % 10 > 9 - by) for v in (row, column)]
    return np.asarray(~(near[0] | near[1]))


@pytest.mark.parametrize("seed", range(20))
def test_crops_keep_pixels_and_labels_together(seed: int) -> None:
    """Whatever the scale, the mirroring and the place, each label is that of the place its pixel comes from."""
    pixels, labels = chart()
    crop, cropped = scale_and_crop(pixels, labels, (0.5, 1.0, 1.5), 32, seeded(seed))
    assert crop.shape == (32, 32, 3) and cropped.shape == (32, 32)
    row, column = place_of(crop)
    inside = cropped != 255
    checked = inside & far_from_borders(row, column, by=2.5)
    assert inside.any() and checked.any()
    expected = labels_at(np.round(row).astype(int), np.round(column).astype(int))
    np.testing.assert_array_equal(cropped[checked], expected[checked])


@pytest.mark.parametrize("seed", range(10))
def test_what_lies_outside_has_the_mean_color_and_no_label(seed: int) -> None:
    """A crop larger than the image holds all of it, and the rest is the mean color and ignored."""
    pixels, labels = chart()
    crop, cropped = scale_and_crop(pixels, labels, (1.0,), 70, seeded(seed))
    outside = cropped == 255
    assert int((~outside).sum()) == labels.size
    assert (crop[outside] == MEAN_COLOR).all()
    assert sorted(cropped[~outside].tolist()) == sorted(labels.ravel().tolist())
    rows, columns = np.nonzero(~outside)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == SIZE


def test_ignored_pixels_stay_ignored() -> None:
    """Labels 255 of the image come through a change of scale."""
    pixels, labels = chart()
    labels[:, :28] = 255
    shares = [(scale_and_crop(pixels, labels, (s,), 84, seeded(1))[1] != 255).sum() for s in (1.0, 1.5)]
    assert shares[0] == 40 * 28 and abs(shares[1] - 60 * 42) <= 60


def test_every_scale_mirror_and_place_occurs() -> None:
    """Over many seeds both orientations and the extreme places of the crop occur."""
    pixels, labels = chart()
    mirrored, corners = set(), set()
    for seed in range(300):
        crop, _ = scale_and_crop(pixels, labels, (1.0,), 36, seeded(seed))
        row, column = place_of(crop)
        mirrored.add(bool(column[0, 0] > column[0, -1]))
        corners |= {("row", int(row[0, 0])), ("column", int(min(column[0, 0], column[0, -1])))}
    assert mirrored == {False, True}
    assert {("row", 0), ("row", 4), ("column", 0), ("column", 20)} <= corners
    assert max(value for _, value in corners) == 20


@pytest.mark.parametrize("seed", range(20))
def test_rotation_keeps_pixels_and_mask_together(seed: int) -> None:
    """The mask is white exactly where the rotated and mirrored pixels come from the white region."""
    pixels, _ = chart((48, 48))
    row, column = np.mgrid[:48, :48]
    white = (row > 10) & (row < 30) & (column > 8) & (column < 24)
    turned, mask, valid = mirror_and_rotate(pixels, np.where(white, 255, 0).astype(np.uint8), 15.0, seeded(seed))
    assert turned.shape == (48, 48, 3) and mask.shape == valid.shape == (48, 48) and valid.dtype == np.bool_
    row, column = place_of(turned)
    inner = valid & (turned[..., 2] == 0)
    surely = inner & (row > 12.5) & (row < 27.5) & (column > 10.5) & (column < 21.5)
    never = inner & ((row < 8.5) | (row > 31.5) | (column < 6.5) | (column > 25.5))
    assert surely.any() and never.any()
    assert (mask[surely] == 255).all() and (mask[never] == 0).all()


def test_the_rotated_in_border_is_not_valid() -> None:
    """Pixels from outside have the mean color and are marked, and without rotation there are none."""
    pixels, mask = np.full((40, 40, 3), 9, np.uint8), np.zeros((40, 40), np.uint8)
    turned, _, valid = mirror_and_rotate(pixels, mask, 45.0, seeded(3))
    assert not valid.all() and valid[20, 20]
    foreign = (turned == MEAN_COLOR).all(axis=-1)
    assert foreign.any() and not (foreign & valid).any()
    _, _, all_valid = mirror_and_rotate(pixels, mask, 0.0, seeded(3))
    assert all_valid.all()


@pytest.mark.parametrize("seed", range(10))
def test_regions_move_as_the_image_does(seed: int) -> None:
    """Each pixel's region is that of the place it comes from, and the rotated-in border is a region of its own."""
    pixels, labels = chart((48, 48))
    regions = labels.astype(np.int32) * 20
    turned, _, valid = mirror_and_rotate(pixels, labels, 15.0, seeded(seed))
    moved = mirror_and_rotate_regions(regions, 15.0, seeded(seed))
    assert moved.dtype == np.int32 and set(np.unique(moved[valid])) <= set(np.unique(regions))
    assert (moved[~valid] == regions.max() + 1).all()
    row, column = place_of(turned)
    checked = valid & far_from_borders(row, column) & (turned[..., 2] == 0)
    assert checked.any()
    expected = labels_at(np.round(row).astype(int), np.round(column).astype(int)).astype(int) * 20
    np.testing.assert_array_equal(moved[checked], expected[checked])


def test_a_change_depends_on_its_seed_alone() -> None:
    """The same seed gives the same pixels, another gives others, and the input stays as it is."""
    pixels, labels = chart()
    kept = pixels.copy(), labels.copy()
    crops = [scale_and_crop(pixels, labels, (0.5, 1.0), 32, seeded(s, 1))[0] for s in (4, 4, 5)]
    turned = [mirror_and_rotate(pixels, labels, 10.0, seeded(s, 1))[0] for s in (4, 4, 5)]
    colored = [jitter_colors(pixels, (0.3, 0.3, 0.3, 0.1), seeded(s, 1)) for s in (4, 4, 5)]
    for same, again, other in (crops, turned, colored):
        assert np.array_equal(same, again) and not np.array_equal(same, other)
    assert np.array_equal(pixels, kept[0]) and np.array_equal(labels, kept[1])


def test_jitter_changes_colors_and_moves_nothing() -> None:
    """Without strength nothing changes; with it colors do, but edges stay where they are."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = (200, 120, 60)
    assert np.array_equal(jitter_colors(pixels, (0, 0, 0, 0), seeded(0)), pixels)
    changed = jitter_colors(pixels, (0.3, 0.3, 0.3, 0.1), seeded(0))
    assert changed.shape == pixels.shape and changed.dtype == np.uint8 and not np.array_equal(changed, pixels)
    for half in (changed[:, :8], changed[:, 8:]):
        assert (half == half[0, 0]).all()


def test_brightness_stays_within_its_strength() -> None:
    """A brightness strength of 0.3 multiplies by 0.7 to 1.3, and reaches near both ends."""
    pixels = np.full((2, 2, 3), 100, np.uint8)
    found = [int(jitter_colors(pixels, (0.3, 0, 0, 0), seeded(seed))[0, 0, 0]) for seed in range(200)]
    assert 69 <= min(found) <= 73 and 127 <= max(found) <= 130


def test_objects_are_pasted_with_their_labels() -> None:
    """What is a class in the other image covers pixels and labels alike; background and ignored pixels do not."""
    pixels, labels = np.full((1, 4, 3), 10, np.uint8), np.array([[0, 5, 255, 5]], np.uint8)
    others, other_labels = np.full((1, 4, 3), 90, np.uint8), np.array([[7, 0, 7, 255]], np.uint8)
    found, found_labels = paste_objects(pixels, labels, others, other_labels)
    assert found[0, :, 0].tolist() == [90, 10, 90, 10] and found_labels.tolist() == [[7, 5, 7, 5]]
    assert pixels.max() == 10 and labels[0, 0] == 0
