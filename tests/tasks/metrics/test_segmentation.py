"""Measures of label maps and class maps against loops over pixels, hand-derived values, and laws."""

import numpy as np
import pytest

from tag2mask.tasks.metrics.segmentation import ConfusionMatrix, SegmentationScores, ThresholdedIoU


def slow_confusion(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> np.ndarray:
    """Confusion counts by three loops; the last column holds the ignored pixels."""
    counts = np.zeros((classes, classes + 1), int)
    for prediction, target in pairs:
        for y in range(target.shape[0]):
            for x in range(target.shape[1]):
                if target[y, x] != 255:
                    counts[target[y, x], min(int(prediction[y, x]), classes)] += 1
    return counts


def slow_miou(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int, *, labeled_only: bool) -> float:
    """Mean IoU by sets of pixels, one class after the other."""
    ious = []
    for number in range(classes):
        hit = union = occurs = 0
        for prediction, target in pairs:
            for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
                if t == 255 or (labeled_only and p == 255):
                    continue
                hit += p == number and t == number
                union += p == number or t == number
                occurs += t == number
        if occurs:
            ious.append(hit / union)
    return sum(ious) / len(ious)


def random_labels(rng: np.random.Generator, size: tuple[int, int], classes: int) -> np.ndarray:
    labels = rng.integers(0, classes, size)
    return np.where(rng.random(size) < 0.2, 255, labels).astype(np.uint8)


def scores(prediction: list[int], target: list[int], classes: int) -> SegmentationScores:
    matrix = ConfusionMatrix(classes)
    matrix.step(np.array([prediction], np.uint8), np.array([target], np.uint8))
    return matrix.result()


@pytest.mark.parametrize("seed", range(20))
def test_confusion_equals_loops(seed: int) -> None:
    """Counts and both mean IoUs equal loops over all pixels of several images of different size."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 9))
    sizes = [(8, 8), (5, 11), (1, 3)]
    # Ground truth of fewer classes than the prediction, so that some class is predicted but never true.
    pairs = [(random_labels(rng, s, classes), random_labels(rng, s, max(1, classes - 2))) for s in sizes]
    matrix = ConfusionMatrix(classes)
    for prediction, target in pairs:
        matrix.step(prediction, target)
    np.testing.assert_array_equal(matrix.counts, slow_confusion(pairs, classes))
    result = matrix.result()
    assert result.miou == pytest.approx(slow_miou(pairs, classes, labeled_only=False), abs=1e-12)
    assert result.miou_labeled == pytest.approx(slow_miou(pairs, classes, labeled_only=True), abs=1e-12)
    filled = [(np.where(prediction == 255, 0, prediction), target) for prediction, target in pairs]
    assert result.miou_as_background == pytest.approx(slow_miou(filled, classes, labeled_only=False), abs=1e-12)


def test_half_of_an_object_is_half_an_iou() -> None:
    """Two of four object pixels found: IoU 2/4, background 4/6, precision 1, recall 1/2."""
    result = scores([1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], 2)
    assert result.iou == (4 / 6, 2 / 4)
    assert result.miou == (4 / 6 + 2 / 4) / 2
    assert result.precision == (4 / 6, 1.0) and result.recall == (1.0, 1 / 2)
    assert result.pixels == (4, 4) and result.ignored_share == 0


def test_ignored_pixels_enter_the_union_of_their_true_class() -> None:
    """Of four object pixels one is found and three are ignored: IoU 1/4, but 1 over labeled pixels."""
    result = scores([0, 0, 1, 255, 255, 255], [0, 0, 1, 1, 1, 1], 2)
    assert result.iou == (1.0, 1 / 4) and result.iou_labeled == (1.0, 1.0)
    assert result.miou == 5 / 8 and result.miou_labeled == 1.0
    assert result.recall == (1.0, 1 / 4) and result.precision == (1.0, 1.0)
    assert result.miou_as_background == (2 / 5 + 1 / 4) / 2
    assert result.ignored_share == 3 / 6


def test_void_ground_truth_is_dropped() -> None:
    """Pixels without ground truth count nowhere, whatever is predicted there."""
    assert scores([0, 1, 1, 255], [0, 1, 255, 255], 2) == scores([0, 1], [0, 1], 2)


def test_classes_that_never_occur_leave_the_mean() -> None:
    """A class without ground truth has no IoU; predicting it still costs the class that is there."""
    result = scores([1, 2, 2, 0], [1, 1, 1, 0], 4)
    assert result.iou == (1.0, 1 / 3, None, None) and result.miou == (1 + 1 / 3) / 2
    assert result.precision == (1.0, 1.0, 0.0, None) and result.recall == (1.0, 1 / 3, None, None)


def test_all_ignored_prediction_scores_zero() -> None:
    """A map of 255 has mean IoU 0 and none over labeled pixels, since there are none."""
    result = scores([255, 255], [0, 1], 2)
    assert result.miou == 0 and result.miou_labeled is None and result.ignored_share == 1
    assert result.miou_as_background == 1 / 4


def test_renaming_classes_keeps_the_mean() -> None:
    """The same permutation of the classes in prediction and ground truth permutes the figures and keeps the mean."""
    rng = np.random.default_rng(4)
    prediction, target = random_labels(rng, (20, 20), 6), random_labels(rng, (20, 20), 6)
    names = np.arange(256, dtype=np.uint8)
    names[:6] = rng.permutation(6)
    first, second = ConfusionMatrix(6), ConfusionMatrix(6)
    first.step(prediction, target)
    second.step(names[prediction], names[target])
    assert second.result().miou == pytest.approx(first.result().miou, abs=1e-12)
    assert [second.result().iou[names[k]] for k in range(6)] == list(first.result().iou)


def test_counts_stand_in_all_255_classes() -> None:
    """The highest class number, 254, is not taken for ignored."""
    result = scores([254, 255, 0], [254, 254, 0], 255)
    assert result.iou[254] == 1 / 2 and result.miou == 3 / 4


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"prediction has shape \(2, 3\), the target \(3, 2\)"),
        (np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8), "prediction must be .* uint8 .* int64"),
        (np.full((2, 3), 7, np.uint8), np.zeros((2, 3), np.uint8), r"prediction has the value 7; .* 0 .. 4 and 255"),
        (np.zeros((2, 3), np.uint8), np.full((2, 3), 5, np.uint8), r"target has the value 5; .* 0 .. 4 and 255"),
    ],
)
def test_wrong_labels_are_refused(prediction: np.ndarray, target: np.ndarray, message: str) -> None:
    """Shapes, types and values that do not fit are named."""
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(5).step(prediction, target)


def test_nothing_measured_has_no_figure() -> None:
    """Without an image, or with void ground truth alone, asking for a result is an error."""
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match="no ground-truth pixel"):
        matrix.result()
    matrix.step(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    with pytest.raises(ValueError, match="no ground-truth pixel"):
        matrix.result()


Image = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_images(rng: np.random.Generator, classes: int) -> list[Image]:
    """(maps, class numbers, target) of images of different size, with ties and values on the thresholds."""
    images = []
    for size in ((7, 9), (4, 4), (1, 6), (5, 3)):
        count = int(rng.integers(0, classes))
        numbers = rng.permutation(np.arange(1, classes))[:count].astype(np.uint8)
        maps = np.round(rng.random((count, *size)) * 20).astype(np.float32) / np.float32(20)
        images.append((maps, numbers, random_labels(rng, size, classes)))
    return images


def slow_prediction(maps: np.ndarray, numbers: np.ndarray, threshold: np.float32, size: tuple[int, int]) -> np.ndarray:
    """Class of each pixel at one threshold, one pixel at a time."""
    prediction = np.zeros(size, np.uint8)
    for y in range(size[0]):
        for x in range(size[1]):
            column = maps[:, y, x].tolist()
            if column and max(column) > threshold:
                prediction[y, x] = numbers[column.index(max(column))]
    return prediction


@pytest.mark.parametrize("seed", range(12))
def test_curve_equals_one_confusion_per_threshold(seed: int) -> None:
    """One pass gives the mean IoU that loops give at every threshold, and all figures at the best."""
    rng = np.random.default_rng(seed)
    classes, images = 5, random_images(rng, 5)
    thresholds = np.linspace(0, 1, 21)
    accumulator = ThresholdedIoU(classes, thresholds)
    for image in images:
        accumulator.step(*image)
    result = accumulator.result()
    curve, details = [], []
    for threshold in thresholds.astype(np.float32):
        matrix = ConfusionMatrix(classes)
        for maps, numbers, target in images:
            matrix.step(slow_prediction(maps, numbers, threshold, target.shape), target)
        curve.append(matrix.result().miou)
        details.append(matrix.result())
    assert result.curve == tuple(curve)
    assert result.best == details[int(np.argmax(curve))]
    assert result.best_threshold == pytest.approx(thresholds[int(np.argmax(curve))])


def test_background_is_where_the_score_does_not_exceed() -> None:
    """A score equal to the threshold is background; the lowest of several best thresholds is reported."""
    accumulator = ThresholdedIoU(3, np.array([0.1, 0.25, 0.5, 0.75]))
    maps = np.array([[[0.25, 0.5, 1.0, 0.0]], [[0.0, 0.75, 0.0, 0.25]]], np.float32)
    accumulator.step(maps, np.array([1, 2], np.uint8), np.array([[0, 2, 1, 0]], np.uint8))
    result = accumulator.result()
    assert result.curve[1:3] == (1.0, 1.0) and result.best_threshold == 0.25
    assert accumulator.confusion(0).tolist() == [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert accumulator.confusion(3).tolist() == [[2, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_scores_of_other_precision_are_taken(dtype: type) -> None:
    """Half and double precision count like float32 where the values are exact."""
    maps = np.random.default_rng(0).integers(0, 5, (2, 6, 6)) / 4
    target = np.random.default_rng(1).integers(0, 3, (6, 6)).astype(np.uint8)
    results = []
    for precision in (np.float32, dtype):
        accumulator = ThresholdedIoU(3, np.array([0.2, 0.5]))
        accumulator.step(maps.astype(precision), np.array([1, 2], np.uint8), target)
        results.append(accumulator.result())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("maps", "numbers", "target", "message"),
    [
        (np.zeros((1, 2, 4)), [1], np.zeros((2, 3)), r"maps have shape \(1, 2, 4\), the target \(2, 3\).*\(K, 2, 3\)"),
        (np.zeros((2, 2, 3)), [1], np.zeros((2, 3)), r"2 class maps need as many different class numbers, not \[1\]"),
        (np.zeros((2, 2, 3)), [2, 2], np.zeros((2, 3)), r"as many different class numbers, not \[2, 2\]"),
        (np.zeros((1, 2, 3)), [4], np.zeros((2, 3)), r"from 1 to 3, not \[4\]"),
        (np.full((1, 2, 3), np.nan), [1], np.zeros((2, 3)), "without NaN"),
        (np.zeros((1, 2, 3)), [1], np.full((2, 3), 9), "target has the value 9"),
    ],
)
def test_wrong_maps_are_refused(maps: np.ndarray, numbers: list[int], target: np.ndarray, message: str) -> None:
    """Shapes, class numbers and values that do not fit are named."""
    with pytest.raises(ValueError, match=message):
        ThresholdedIoU(4, np.array([0.5])).step(
            maps.astype(np.float32), np.array(numbers, np.uint8), target.astype(np.uint8)
        )


def test_thresholds_must_rise() -> None:
    """Thresholds out of order or doubled are refused."""
    for thresholds in ([0.5, 0.4], [0.5, 0.5], []):
        with pytest.raises(ValueError, match="strictly rising"):
            ThresholdedIoU(3, np.array(thresholds))
