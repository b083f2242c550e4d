"""Masks coded and read back: by ourselves, by plain readers after the formats' descriptions, and damaged."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from tag2mask.tasks.mask_codecs import brush, cvat_masks
from tag2mask.tasks.mask_codecs.polygons import holes_of, mask_of_polygon, polygons_of
from tag2mask.tasks.mask_codecs.runs import BadCode
from tests.tasks.mask_codecs.plain_readers import brush_mask, cvat_mask

FROM_LABEL_STUDIO = bytes.fromhex("00000060391bfcfff7c02dffdb00bfff380613ff8c00")
"""What `mask2rle` of label-studio-sdk 2.1.2 makes of `np.tri(4, 6, 1)` times 255."""


def blobs(seed: int, size: tuple[int, int] = (37, 53)) -> np.ndarray:
    """(H, W) bool of regions with holes that reach the border."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 2) > 0.5


MASKS = {
    "blobs": blobs(1),
    "noise": np.random.default_rng(2).random((11, 7)) > 0.5,
    "full": np.ones((5, 9), bool),
    "pixel": np.pad(np.ones((1, 1), bool), 3),
    "large": np.ones((300, 200), bool),
}


@pytest.mark.parametrize("kind", MASKS)
def test_run_lengths_hold_every_pixel(kind: str) -> None:
    """Both codes give the mask back, to us and to a reader written after the description alone."""
    mask = MASKS[kind]
    code, attributes = brush.encode(mask), cvat_masks.encode(mask)
    assert np.array_equal(brush.decode(code, mask.shape), mask) and np.array_equal(brush_mask(code, mask.shape), mask)
    assert np.array_equal(cvat_masks.decode(attributes, mask.shape), mask)
    assert np.array_equal(cvat_mask(attributes, mask.shape), mask)


def test_what_label_studios_own_converter_wrote_is_read() -> None:
    """A code of the other program gives its mask, and ours is the same up to the zeros at its end."""
    stairs = np.tri(4, 6, 1, dtype=bool)
    assert np.array_equal(brush.decode(FROM_LABEL_STUDIO, stairs.shape), stairs)
    assert bytes(brush.encode(stairs)).rstrip(b"\0") == FROM_LABEL_STUDIO.rstrip(b"\0")


def test_an_empty_brush_is_an_empty_mask() -> None:
    """A brush may cover nothing."""
    assert not brush.decode(brush.encode(np.zeros((4, 5), bool)), (4, 5)).any()


@pytest.mark.parametrize("cut", [0, 3, 6, 8, 30])
def test_a_cut_brush_is_refused(cut: int) -> None:
    """A code that ends too early, is of another image, or is no bytes is named as such."""
    code = brush.encode(MASKS["blobs"])
    with pytest.raises(BadCode, match="cut short|fewer than its head"):
        brush.decode(code[:cut], MASKS["blobs"].shape)
    with pytest.raises(BadCode, match="not 4 of 8 for each of 3x3 pixels"):
        brush.decode(code, (3, 3))
    with pytest.raises(BadCode, match="is no list of bytes"):
        brush.decode([300], (3, 3))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rle": "1, 2"}, "its runs have 3 pixels"),
        ({"rle": "-1, 2"}, "its runs have 1 pixels"),
        ({"rle": "a"}, "lacks a number"),
        ({"left": "60"}, "outside of an image of 53x37"),
        ({"top": "-1"}, "outside of an image"),
    ],
)
def test_a_wrong_mask_of_cvat_is_refused(change: dict[str, str], message: str) -> None:
    """Runs that do not fill their box, and boxes that leave the image, are named as such."""
    mask = MASKS["blobs"]
    with pytest.raises(BadCode, match=message):
        cvat_masks.decode({**cvat_masks.encode(mask), **change}, mask.shape)


@pytest.mark.parametrize("kind", MASKS)
def test_outlines_that_are_not_simplified_lose_nothing(kind: str) -> None:
    """Every center stays on its side of the outline, holes and single pixels included."""
    mask = MASKS[kind]
    drawn = np.zeros_like(mask)
    for polygon in polygons_of(mask, 0):
        drawn |= mask_of_polygon(polygon, mask.shape)
    assert np.array_equal(drawn, mask)


def test_simplified_outlines_stay_close_and_bridge_their_holes() -> None:
    """A ring is one polygon whose hole stays open, also to another program, with half of the points."""
    rows, columns = np.mgrid[:60, :80]
    distance = np.hypot(rows - 30, columns - 40)
    ring = (distance < 25) & (distance > 10)
    (polygon,) = polygons_of(ring)
    assert holes_of(ring) == 1 and len(polygon) < sum(map(len, polygons_of(ring, 0))) / 2
    image = Image.new("1", (80, 60))
    ImageDraw.Draw(image).polygon([tuple(point) for point in (polygon - 0.5).tolist()], fill=1)
    for drawn in (mask_of_polygon(polygon, ring.shape), np.array(image)):
        assert not drawn[30, 40] and (drawn & ring).sum() / (drawn | ring).sum() > 0.93


def test_holes_are_counted() -> None:
    """What reaches the border is no hole, and a diagonal gap lets out."""
    mask = np.ones((9, 9), bool)
    mask[2, 2] = mask[5, 5:7] = False
    assert holes_of(mask) == 2
    mask[0, 0] = mask[1, 1] = False
    assert holes_of(mask) == 1
