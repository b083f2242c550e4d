"""Error and F-measure of saliency maps against loops over thresholds and hand-derived values."""

import numpy as np
import pytest

from tag2mask.tasks.metrics.saliency import MAE, CurveScores, SaliencyFMeasure


def measured(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, CurveScores]:
    error, f_measure = MAE(), SaliencyFMeasure()
    for soft, salient in pairs:
        error.step(soft, salient)
        f_measure.step(soft, salient)
    return error.result(), f_measure.result()


def test_curve_equals_a_loop_over_thresholds() -> None:
    """Each point of the curve is precision and recall of the pixels at or above its threshold."""
    rng = np.random.default_rng(7)
    soft, salient = rng.random((9, 13)), rng.random((9, 13)) < 0.4
    expected = []
    for threshold in range(256):
        passed = np.floor(soft * 255) >= threshold
        hits = (passed & salient).sum()
        precision, recall = hits / max(passed.sum(), 1), hits / salient.sum()
        expected.append(1.3 * precision * recall / (0.3 * precision + recall) if hits else 0.0)
    np.testing.assert_allclose(measured([(soft, salient)])[1].curve, expected, atol=1e-12)


def test_perfect_map_has_no_error() -> None:
    """A map equal to its mask has error 0 and the best F-measure at every threshold but 0."""
    salient = np.random.default_rng(0).random((12, 12)) < 0.4
    error, scores = measured([(salient.astype(np.float32), salient)])
    assert error == 0 and scores.maximum == pytest.approx(1) and scores.adaptive == pytest.approx(1)
    np.testing.assert_allclose(scores.curve[1:], 1)


def test_low_contrast_is_not_stretched() -> None:
    """A right map of a tenth of the contrast has an error of nine tenths on the object."""
    salient = np.zeros((10, 10), bool)
    salient[:5] = True
    assert measured([(salient * 0.1, salient)])[0] == pytest.approx(0.45)


def test_half_precision_by_hand() -> None:
    """Two pixels pass, one of them salient, of one in all: P 1/2, R 1, F 1.3 * 0.5 / (0.15 + 1)."""
    scores = measured([(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[True, False, False, False]]))])[1]
    assert scores.maximum == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))


def test_empty_masks_score_zero_and_are_counted() -> None:
    """Without a salient pixel the F-measure is 0, and the result says how many such images there were."""
    empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    scores = measured([(np.zeros((3, 4)), empty), (np.ones((3, 4)), full)])[1]
    assert scores.images == 2 and scores.empty_targets == 1 and scores.maximum == pytest.approx(0.5)


def test_bytes_count_as_their_255th() -> None:
    """An 8-bit map and mask measure as the map divided by 255 and the mask as bool, level by level."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    salient = np.random.default_rng(2).random((16, 16)) < 0.5
    bytes_pair, float_pair = (levels, salient.astype(np.uint8) * 255), (levels / 255, salient)
    assert measured([bytes_pair]) == measured([float_pair])
    only = levels == 93
    assert measured([(levels, only)])[1].curve[94] == 0 < measured([(levels, only)])[1].curve[93]


def test_maximum_is_of_the_mean_curve() -> None:
    """One threshold serves all images: the maximum of the mean is below the mean of the maxima."""
    mask = np.array([[True, False]])
    dim, bright = np.array([[0.4, 0.1]]), np.array([[0.9, 0.6]])
    scores = measured([(dim, mask), (bright, mask)])[1]
    assert scores.maximum < 1
    assert measured([(dim, mask)])[1].maximum == pytest.approx(1) == measured([(bright, mask)])[1].maximum
