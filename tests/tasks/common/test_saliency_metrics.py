"""Measures of saliency maps against pysodmetrics, loops over thresholds, and hand-derived values."""

import numpy as np
import pytest

from tag2mask.tasks.common.saliency_metrics import FMeasureScores, SaliencyError, SaliencyFMeasure


def random_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A soft map and a bool mask; among them constant, empty, full, 8-bit and single-pixel ones."""
    size = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    soft = rng.random(size) ** rng.choice([0.3, 1.0, 4.0])
    soft = [soft, soft * 0.1, np.zeros(size), np.ones(size), np.round(soft * 255) / 255][rng.integers(5)]
    salient = rng.random(size) < rng.choice([0.0, 0.3, 0.5, 1.0])
    return soft.astype(np.float32 if rng.random() < 0.5 else np.float64), salient


def measured(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, FMeasureScores]:
    error, f_measure = SaliencyError(), SaliencyFMeasure()
    for soft, salient in pairs:
        error.step(soft, salient)
        f_measure.step(soft, salient)
    return error.result(), f_measure.result()


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_pysodmetrics(seed: int) -> None:
    """Error, curve, maximum, mean and adaptive F-measure equal those of pysodmetrics on maps that are not stretched."""
    reference = pytest.importorskip("py_sod_metrics")
    rng = np.random.default_rng(seed)
    pairs = [random_pair(rng) for _ in range(12)]
    theirs_error = reference.MAE()
    handler = reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3)
    theirs = reference.FmeasureV2({"fm": handler})
    for soft, salient in pairs:
        theirs_error.step(soft, salient, normalize=False)
        theirs.step(soft, salient, normalize=False)
    error, ours = measured(pairs)
    expected = theirs.get_results()["fm"]
    assert error == pytest.approx(theirs_error.get_results()["mae"], abs=1e-6)
    np.testing.assert_allclose(ours.curve, expected["dynamic"][::-1], atol=1e-6)  # theirs begins at threshold 255
    assert ours.maximum == pytest.approx(expected["dynamic"].max(), abs=1e-6)
    assert ours.mean == pytest.approx(expected["dynamic"].mean(), abs=1e-6)
    assert ours.adaptive == pytest.approx(expected["adaptive"], abs=1e-6)


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


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), bool), r"shape \(2, 3\), the target \(3, 2\)"),
        (np.zeros((2, 2)), np.eye(2, dtype=np.uint8), "must be 0 and 255, but the largest value is 1"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "must be bool or uint8, not float64"),
        (np.zeros((2, 2), np.int32), np.zeros((2, 2), bool), r"float32 or float64 in \[0, 1\], or uint8, not int32"),
        (np.full((2, 2), 1.5), np.zeros((2, 2), bool), r"must lie in \[0, 1\], not in \[1.5, 1.5\]"),
        (np.full((2, 2), np.nan), np.zeros((2, 2), bool), r"must lie in \[0, 1\]"),
    ],
)
def test_wrong_input_is_refused(prediction: np.ndarray, target: np.ndarray, message: str) -> None:
    """Maps and masks that do not fit are named, with the right form beside them."""
    for accumulator in (SaliencyError(), SaliencyFMeasure()):
        with pytest.raises(ValueError, match=message):
            accumulator.step(prediction, target)


def test_nothing_measured_has_no_figure() -> None:
    """Without an image, asking for a result is an error."""
    for accumulator in (SaliencyError(), SaliencyFMeasure()):
        with pytest.raises(ValueError, match="there is no image"):
            accumulator.result()
