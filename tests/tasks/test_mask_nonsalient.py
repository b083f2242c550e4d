"""Non-salient region masking: the published rule pixel by pixel as an oracle, and its corner cases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.configs.schema import Masking
from tag2mask.tasks import mask_nonsalient as mask_nonsalient_stage
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels, write_gray, write_labels
from tag2mask.tasks.mask_nonsalient import dilate, mask_nonsalient
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks import plain_labels
from tests.tasks.drawn_run import write_dataset


def oracle(
    prediction: np.ndarray, labels: np.ndarray, saliency: np.ndarray, *, saliency_threshold: int, dilation: int
) -> np.ndarray:
    """The rule word for word, one pixel at a time."""
    height, width = prediction.shape
    out = prediction.astype(int).tolist()
    kept = [[False] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            if 0 < labels[y, x] < 255 and out[y][x] == 0:
                out[y][x] = int(labels[y, x])
            if out[y][x] != 0 or saliency[y, x] > saliency_threshold:
                grow(kept, y, x, dilation)
    out = [[q if keep else 255 for q, keep in zip(*rows, strict=True)] for rows in zip(out, kept, strict=True)]
    return np.array(out, np.uint8)


def grow(kept: list[list[bool]], y: int, x: int, side: int) -> None:
    """Mark what a pixel covers: with side 30, 14 before and 15 after."""
    before, after = (side - 1) // 2, side // 2
    for row in range(max(0, y - before), min(len(kept), y + after + 1)):
        for column in range(max(0, x - before), min(len(kept[0]), x + after + 1)):
            kept[row][column] = True


def random_case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = (int(rng.integers(1, 45)), int(rng.integers(1, 45)))
    density = rng.choice([0.0, 0.001, 0.01, 0.3])
    prediction = np.where(rng.random(size) < density, rng.integers(1, 21, size), 0).astype(np.uint8)
    labels = np.where(rng.random(size) < density, rng.choice([3, 7, 255], size), 0).astype(np.uint8)
    saliency = np.where(rng.random(size) < rng.choice([0.0, 0.002, 0.5]), rng.integers(0, 256, size), 0).astype(
        np.uint8
    )
    return prediction, labels, saliency


@pytest.mark.parametrize("seed", range(4))
def test_labels_equal_the_rule_pixel_by_pixel(seed: int) -> None:
    """Masking equals the published rule bit for bit."""
    rng = np.random.default_rng(seed)
    for _ in range(50):
        case = random_case(rng)
        settings: dict[str, Any] = {
            "dilation": int(rng.choice([1, 2, 3, 7, 30])),
            "saliency_threshold": int(rng.choice([0, 128])),
        }
        masked = mask_nonsalient(*case, **settings)
        assert masked.dtype == np.uint8
        np.testing.assert_array_equal(masked, oracle(*case, **settings))


def test_one_pixel_covers_fourteen_before_and_fifteen_after() -> None:
    """The square of 30 has no middle: pixel 40 covers 26 .. 55 in both directions."""
    region = np.zeros((80, 90), bool)
    region[40, 40] = True
    expected = np.zeros((80, 90), bool)
    expected[26:56, 26:56] = True
    np.testing.assert_array_equal(dilate(region, 30), expected)


def test_dilation_ends_at_the_border() -> None:
    """A pixel in the corner covers what lies inside the image and wraps nowhere."""
    region = np.zeros((40, 40), bool)
    region[39, 0] = True
    expected = np.zeros((40, 40), bool)
    expected[25:, :16] = True
    np.testing.assert_array_equal(dilate(region, 30), expected)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_odd_square_grows_evenly(side: int) -> None:
    """A square with a middle grows by the same on all sides."""
    region = np.zeros((9, 9), bool)
    region[4, 4] = True
    reach = side // 2
    expected = np.zeros((9, 9), bool)
    expected[4 - reach : 5 + reach, 4 - reach : 5 + reach] = True
    np.testing.assert_array_equal(dilate(region, side), expected)


def test_dilation_works_on_any_memory_layout() -> None:
    """A transposed region is grown like a contiguous one."""
    region = np.random.default_rng(0).random((20, 30)) < 0.01
    np.testing.assert_array_equal(dilate(region.T, 6), dilate(np.ascontiguousarray(region.T), 6))


def test_labels_fill_what_the_prediction_missed() -> None:
    """A class of the labels stands where the prediction is background; ignored labels and other classes do not."""
    prediction = np.array([[0, 0, 0, 5]], np.uint8)
    labels = np.array([[0, 3, 255, 3]], np.uint8)
    masked = mask_nonsalient(prediction, labels, np.zeros_like(labels))
    assert masked.tolist() == [[0, 3, 0, 5]]


def test_saliency_keeps_background() -> None:
    """Background near any salient pixel stays background; the rest is ignored."""
    prediction = np.zeros((1, 100), np.uint8)
    prediction[0, 0] = 2
    saliency = np.zeros_like(prediction)
    saliency[0, 60] = 1
    masked = mask_nonsalient(prediction, prediction, saliency)
    assert masked[0].tolist() == [2] + [0] * 15 + [255] * 30 + [0] * 30 + [255] * 24
    higher = mask_nonsalient(prediction, prediction, saliency, saliency_threshold=1)
    assert higher[0].tolist() == [2] + [0] * 15 + [255] * 84


def test_all_ignored_labels_add_nothing() -> None:
    """A round whose labels were all ignored leaves the prediction and its surroundings."""
    prediction = np.zeros((40, 40), np.uint8)
    prediction[:5, :5] = 6
    masked = mask_nonsalient(prediction, np.full_like(prediction, 255), np.zeros_like(prediction))
    assert (masked == 6).sum() == 25 and (masked[:20, :20] != 255).all() and (masked[20:] == 255).all()


def test_the_stage_writes_what_the_published_code_writes(tmp_path: Path) -> None:
    """Images of one tag keep their prediction, those of several are masked, and hardly any foreground is ignored."""
    rng = np.random.default_rng(6)
    masks = {name: np.zeros((50, 120), np.uint8) for name in ("one", "two", "few", "none")}
    masks["one"][5:20, 10:30], masks["two"][5:20, 10:30], masks["two"][40:, :9], masks["few"][0, :5] = 1, 1, 2, 1
    dataset = write_dataset(tmp_path / "dataset", ("cat", "dog"), masks)
    given = {name: tmp_path / name for name in ("predictions", "labels", "saliency")}
    for name, mask in masks.items():
        write_labels(given["predictions"] / f"{name}.png", mask)
        missed = (rng.random(mask.shape) < 0.1) & (np.arange(mask.shape[1]) < 40)
        write_labels(given["labels"] / f"{name}.png", np.where(missed, 2, mask).astype(np.uint8))
        salient = np.where(mask == 1, rng.integers(0, 256, mask.shape), 0).astype(np.uint8)
        write_gray(given["saliency"] / "saliency" / f"{name}.png", salient)
    mask_nonsalient_stage.run(Masking(), tmp_path / "out", StageRuntime(), dataset=dataset, **given)
    for record in ImageIndex.read(dataset):
        folders = (given["predictions"], given["labels"], given["saliency"] / "saliency")
        plain_labels.mask_file(record.image_id, len(record.tags), *folders, tmp_path)
        written = read_labels(tmp_path / "out" / f"{record.image_id}.png")
        np.testing.assert_array_equal(written, read_labels(tmp_path / f"{record.image_id}.png"))
    assert (read_labels(tmp_path / "out/one.png") == masks["one"]).all()
    assert (read_labels(tmp_path / "out/few.png") == 255).all()
    assert set(np.unique(read_labels(tmp_path / "out/two.png"))) == {0, 1, 2, 255}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((3, 5), np.uint8)}, r"labels has shape \(3, 5\), the prediction \(3, 4\)"),
        ({"saliency": np.zeros((3, 4), np.float32)}, r"saliency must be \(H, W\) uint8.*float32"),
        ({"dilation": 0}, "at least 1 pixel, not 0"),
    ],
)
def test_wrong_input_is_refused(change: dict[str, Any], message: str) -> None:
    """Inputs that do not fit are named, with the right form beside them."""
    empty = np.zeros((3, 4), np.uint8)
    inputs: dict[str, Any] = {"prediction": empty, "labels": empty, "saliency": empty, **change}
    with pytest.raises(ValueError, match=message):
        mask_nonsalient(**inputs)
