"""COCO's masks read back: as pycocotools reads sound ones, and refused where they are damaged."""

import numpy as np
import pytest
from pycocotools import mask as coco

from tag2mask.tasks.mask_codecs import coco_masks
from tag2mask.tasks.mask_codecs.runs import BadCode
from tests.tasks.mask_codecs.test_mask_codecs import MASKS, blobs

NAN, FAR = float("nan"), float("inf")


@pytest.mark.parametrize("seed", range(20))
def test_compressed_runs_are_read_as_pycocotools_reads_them(seed: int) -> None:
    """Of random masks, some of one run and some of thousands."""
    mask = [*MASKS.values(), *(blobs(s, (1 + 13 * s, 290 - 11 * s)) for s in range(16))][seed]
    coded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    segmentation = {"size": list(mask.shape), "counts": coded["counts"].decode("ascii")}
    assert np.array_equal(coco_masks.decode(segmentation, (mask.shape[0], mask.shape[1])), mask)


def test_plain_runs_go_down_the_columns() -> None:
    """A run of two behind one pixel of background is the second and third pixel of the first column."""
    found = coco_masks.decode({"size": [3, 2], "counts": [1, 2, 3]}, (3, 2))
    assert found.tolist() == [[False, False], [True, False], [True, False]]


@pytest.mark.parametrize(
    "counts", [[10, 20], [10, 20, 200], [-1, 145], [1.5, 142.5], ["a"], "zzzzzz", "PPYj1", "0" * 9, "é"], ids=str
)
def test_runs_that_do_not_fill_the_image_are_refused(counts: object) -> None:
    """Runs of fewer or more pixels, broken numbers and other characters are no mask: nothing is made up."""
    with pytest.raises(BadCode, match="its runs have|cannot be read|in the middle|none of its code"):
        coco_masks.decode({"size": [12, 12], "counts": counts}, (12, 12))


@pytest.mark.parametrize("far", [NAN, FAR, -FAR, 1e9])
def test_polygons_that_reach_anywhere_are_refused(far: float) -> None:
    """A point that is no number, or beyond a million pixels, is refused; one just outside of the image is not."""
    with pytest.raises(BadCode, match="has a point more than 1000000 pixels away"):
        coco_masks.decode([[0.0, 0.0, 5.0, 0.0, far, 5.0]], (12, 12))
    assert coco_masks.decode([[-20.0, -20.0, 40.0, -20.0, 40.0, 40.0, -20.0, 40.0]], (12, 12)).all()


def test_ignored_pixels_and_a_class_of_that_name_stay_apart() -> None:
    """Where a class is called `ignored`, the category of ignored pixels has another name."""
    names = [one["name"] for one in coco_masks.categories(("ant", "ignored"))]
    assert names == ["ant", "ignored", "ignored-pixels"]
