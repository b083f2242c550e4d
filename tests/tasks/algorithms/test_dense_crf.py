"""Dense CRF: planted edges, present classes against all classes, and the doors."""

import numpy as np
import pytest

from tag2mask.configs.schema import Refinement
from tag2mask.tasks.algorithms import dense_crf
from tag2mask.tasks.algorithms.dense_crf import refine_labels, refine_present
from tag2mask.tasks.algorithms.permutohedral import SpreadTooFar
from tests.tasks.algorithms.plain_lattice import mean_field

ALL = 21
EDGE = 34
"""Column at which the drawn image changes its color."""


def drawn_image() -> np.ndarray:
    """(48, 64, 3) uint8: a bluish left and a reddish right side, and a green disc, with a little noise."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :EDGE] = (40, 60, 170)
    image[:, EDGE:] = (190, 80, 50)
    y, x = np.mgrid[:48, :64]
    image[(y - 14) ** 2 + (x - 16) ** 2 < 81] = (60, 180, 70)
    noise = np.random.default_rng(0).integers(0, 5, image.shape, np.uint8)
    image += noise
    return image


def refine(image: np.ndarray, probabilities: np.ndarray, **constants: float) -> np.ndarray:
    """Marginals with some of the published constants changed."""
    return dense_crf.refine(image, probabilities, Refinement.model_validate(constants))


def blurred_step(center: float) -> np.ndarray:
    """(2, 48, 64) float32: left and right, with a soft border around a column."""
    right = 1 / (1 + np.exp(-(np.arange(64) - center) / 6))
    right = np.broadcast_to(right.astype(np.float32), (48, 64))
    return np.stack([1 - right, right])


def drawn_probabilities() -> np.ndarray:
    """(21, 48, 64) float32 softmax: background left, class 15 right, class 7 about the disc, little of all others."""
    y, x = np.mgrid[:48, :64]
    logits = np.random.default_rng(1).normal(0, 0.3, (ALL, 48, 64)) - 7
    logits[0], logits[15] = 2 * blurred_step(31)
    logits[7] = 6 * np.exp(-((y - 15) ** 2 + (x - 18) ** 2) / 120) - 1
    exponentials = np.exp(logits)
    probabilities: np.ndarray = (exponentials / exponentials.sum(axis=0)).astype(np.float32)
    return probabilities


def test_marginals_equal_the_mean_field_point_by_point() -> None:
    """Marginals equal those of a slow mean field, but for pixels on borders of simplices, which may go either way."""
    image = drawn_image()[4:22, 26:46]
    logits = np.random.default_rng(4).normal(0, 1, (3, *image.shape[:2]))
    soft = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    slow = mean_field(image, soft, iterations=3, gaussian_xy=2.0, bilateral_xy=8.0)
    fast = refine(image, soft, iterations=3, gaussian_xy=2.0, bilateral_xy=8.0)
    np.testing.assert_allclose(fast, slow, atol=0.02)
    assert np.abs(fast - slow).mean() < 1e-3 and np.abs(fast - soft).mean() > 0.1


def test_labels_snap_to_the_edge_of_the_image() -> None:
    """A soft border six columns off moves to where the color changes, and not without the bilateral kernel."""
    image, soft = drawn_image(), blurred_step(EDGE - 6)
    image[:, :EDGE] = image[0, 0]  # without the disc
    expected = np.zeros((48, 64), bool)
    expected[:, EDGE:] = True
    assert (soft.argmax(axis=0) != expected).mean() > 0.05
    np.testing.assert_array_equal(refine(image, soft).argmax(axis=0), expected)
    assert (refine(image, soft, bilateral_weight=0).argmax(axis=0) != expected).any()


def test_present_classes_label_like_all_classes() -> None:
    """Leaving absent classes out labels every pixel as keeping them with a probability of zero."""
    image, probabilities = drawn_image(), drawn_probabilities()
    classes = np.array([0, 7, 15], np.uint8)
    assert np.flatnonzero(probabilities.max(axis=(1, 2)) > 0.05).tolist() == classes.tolist()
    zeroed = np.zeros_like(probabilities)
    zeroed[classes] = probabilities[classes]
    few = refine_present(image, probabilities, np.arange(ALL, dtype=np.uint8), Refinement(minimum_probability=0.05))
    every = refine_labels(image, zeroed, np.arange(ALL, dtype=np.uint8))
    np.testing.assert_array_equal(few, every)
    assert np.unique(few).tolist() == [0, 7, 15]


def test_marginals_are_probabilities() -> None:
    """Marginals are float32 of the same shape, not negative, and sum to one over the classes."""
    soft = blurred_step(30)
    marginals = refine(drawn_image(), soft)
    assert marginals.dtype == np.float32 and marginals.shape == soft.shape and marginals.min() >= 0
    np.testing.assert_allclose(marginals.sum(axis=0), 1, atol=1e-5)


def test_kernels_without_weight_leave_the_probabilities() -> None:
    """With both weights at zero the marginals are the probabilities, floored at 1e-5 and normalized."""
    soft = blurred_step(30) / 2
    floored = np.maximum(soft, 1e-5)
    marginals = refine(drawn_image(), soft, gaussian_weight=0, bilateral_weight=0)
    np.testing.assert_allclose(marginals, floored / floored.sum(axis=0), atol=1e-5)


def test_smoothness_kernel_removes_a_speck() -> None:
    """A single deviating pixel goes with the smoothness kernel alone and stays without it."""
    soft = np.full((2, 20, 20), 0.3, np.float32)
    soft[0] = 0.7
    soft[:, 9, 11] = soft[::-1, 9, 11]
    image = np.zeros((20, 20, 3), np.uint8)
    assert refine(image, soft, bilateral_weight=0).argmax(axis=0).sum() == 0
    assert refine(image, soft, gaussian_weight=0, bilateral_weight=0).argmax(axis=0).sum() == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"iterations": 1},
        {"gaussian_xy": 3.0},
        {"gaussian_weight": 1.0},
        {"bilateral_xy": 20.0},
        {"bilateral_rgb": 13.0},
        {"bilateral_weight": 1.0},
    ],
)
def test_every_setting_counts(setting: dict[str, float]) -> None:
    """Each setting, changed alone, changes the marginals."""
    image, soft = drawn_image(), blurred_step(20)
    assert not np.array_equal(refine(image, soft, **setting), refine(image, soft))  # type: ignore[arg-type]


def test_one_class_is_certain() -> None:
    """With a single class there is nothing to decide: ones."""
    marginals = refine(drawn_image(), np.full((1, 48, 64), 0.3, np.float32))
    assert marginals.dtype == np.float32
    np.testing.assert_array_equal(marginals, np.ones((1, 48, 64)))


def test_no_iterations_leave_the_probabilities() -> None:
    """Zero iterations turn the CRF off; the result is a copy."""
    soft = blurred_step(30)
    marginals = refine(drawn_image(), soft, iterations=0)
    np.testing.assert_array_equal(marginals, soft)
    assert not np.shares_memory(marginals, soft)


def test_memory_layout_does_not_matter() -> None:
    """Mirrored and transposed views give what their contiguous copies give."""
    image, soft = drawn_image()[:, ::-1], blurred_step(30).transpose(1, 2, 0).copy().transpose(2, 0, 1)
    assert not image.flags.c_contiguous and not soft.flags.c_contiguous
    again = refine(np.ascontiguousarray(image), np.ascontiguousarray(soft))
    np.testing.assert_array_equal(refine(image, soft), again)


def test_inputs_stay_as_they_are() -> None:
    """Neither the image nor the probabilities change."""
    image, soft = drawn_image(), blurred_step(30)
    refine(image, soft)
    np.testing.assert_array_equal(image, drawn_image())
    np.testing.assert_array_equal(soft, blurred_step(30))


def test_same_input_gives_the_same_bytes() -> None:
    """The CRF has no chance in it."""
    image, soft = drawn_image(), blurred_step(30)
    assert refine(image, soft).tobytes() == refine(image, soft).tobytes()


def test_hard_probabilities_stay_finite() -> None:
    """Zeros and ones give finite marginals."""
    hard = (blurred_step(30) > 0.5).astype(np.float32)
    assert np.isfinite(refine(drawn_image(), hard)).all()


def test_common_factor_changes_no_label() -> None:
    """Probabilities that do not sum to one count relative to each other."""
    image, soft = drawn_image(), np.maximum(blurred_step(28), 1e-3).astype(np.float32)
    np.testing.assert_allclose(refine(image, soft / 2), refine(image, soft), atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)])
def test_small_images_pass(size: tuple[int, int]) -> None:
    """A single pixel, row or column is refined like any image."""
    soft = np.full((2, *size), 0.5, np.float32)
    soft[1] = 0.4
    assert (refine(np.zeros((*size, 3), np.uint8), soft).argmax(axis=0) == 0).all()


def test_labels_are_class_numbers() -> None:
    """The winning plane is translated to its class number."""
    labels = refine_labels(drawn_image(), blurred_step(EDGE), np.array([0, 13], np.uint8))
    assert labels.dtype == np.uint8 and np.unique(labels).tolist() == [0, 13]


def test_classes_take_part_above_the_minimum() -> None:
    """A class needs more than the minimum somewhere; background takes part without any."""
    probabilities = np.zeros((4, 2, 2), np.float32)
    probabilities[1, 0, 0], probabilities[3, 1, 1] = 0.25, 0.5
    for minimum, seen in ((0.25, {0, 3}), (0.1, {0, 1, 3}), (0.0, {0, 1, 3}), (0.9, {0})):
        config = Refinement(iterations=0, minimum_probability=minimum)
        labels = refine_present(np.zeros((2, 2, 3), np.uint8), probabilities, np.arange(4, dtype=np.uint8), config)
        assert set(labels.flat) == seen and labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "probabilities", "message"),
    [
        (
            np.zeros((4, 6, 3), np.float32),
            np.zeros((2, 4, 6), np.float32),
            r"image must be \(H, W, 3\) uint8 RGB.*float32",
        ),
        (np.zeros((4, 6), np.uint8), np.zeros((2, 4, 6), np.float32), r"image must be \(H, W, 3\) uint8 RGB"),
        (np.zeros((4, 6, 3), np.uint8), np.zeros((2, 4, 6)), r"probabilities must be \(K, H, W\) float32.*float64"),
        (
            np.zeros((4, 6, 3), np.uint8),
            np.zeros((2, 6, 4), np.float32),
            r"shape \(2, 6, 4\) and the image \(4, 6, 3\)",
        ),
        (np.zeros((4, 6, 3), np.uint8), np.full((2, 4, 6), -3, np.float32), r"must lie in \[0, 1\], not in \[-3, -3\]"),
        (np.zeros((4, 6, 3), np.uint8), np.full((2, 4, 6), np.nan, np.float32), r"must lie in \[0, 1\]"),
    ],
)
def test_wrong_input_is_refused(image: np.ndarray, probabilities: np.ndarray, message: str) -> None:
    """Types, shapes and ranges that do not fit are named, with the right form beside them."""
    with pytest.raises(ValueError, match=message):
        refine(image, probabilities)


def test_a_kernel_too_narrow_for_the_image_is_refused() -> None:
    """Standard deviations of a tenth in a very wide image, which the filter cannot number, are refused by name."""
    wide = np.random.default_rng(0).integers(0, 256, (4, 30_000, 3), np.uint8)
    with pytest.raises(SpreadTooFar, match="points spread over .*: raise bilateral_xy or bilateral_rgb of the dense"):
        refine(wide, np.full((2, 4, 30_000), 0.5, np.float32), bilateral_xy=0.1, bilateral_rgb=0.1)


def test_class_numbers_must_fit_the_planes() -> None:
    """Two planes need two uint8 class numbers."""
    with pytest.raises(ValueError, match=r"one uint8 number a plane, \(2,\), not \(3,\)"):
        refine_labels(drawn_image(), blurred_step(30), np.array([0, 1, 2], np.uint8))
