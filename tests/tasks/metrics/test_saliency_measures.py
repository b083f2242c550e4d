"""All measures of saliency maps against pysodmetrics in both of its conventions, and what they have in common."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tag2mask.tasks.metrics.enhanced_alignment import EnhancedAlignment
from tag2mask.tasks.metrics.saliency import MAE, CurveOfImages, MeanOfImages, SaliencyFMeasure
from tag2mask.tasks.metrics.structure_measure import StructureMeasure, structure_measure
from tag2mask.tasks.metrics.weighted_f_measure import WeightedFMeasure, weighted_f_measure

Pair = tuple[np.ndarray, np.ndarray]
MEANS: dict[str, type[MeanOfImages]] = {
    "MAE": MAE,
    "Smeasure": StructureMeasure,
    "WeightedFmeasure": WeightedFMeasure,
}
"""Name of the class of pysodmetrics -> ours."""
ALL: tuple[type[MeanOfImages] | type[CurveOfImages], ...] = (*MEANS.values(), SaliencyFMeasure, EnhancedAlignment)


def blob(rng: np.random.Generator, size: tuple[int, int], spread: float) -> np.ndarray:
    """(H, W) in [0, 1], smooth."""
    field = gaussian_filter(rng.random(size), spread)
    stretched: np.ndarray = (field - field.min()) / (np.ptp(field) + 1e-9)
    return stretched


def random_noise(rng: np.random.Generator) -> Pair:
    size = (int(rng.integers(5, 40)), int(rng.integers(5, 40)))
    return rng.random(size), rng.random(size) < rng.choice([0.1, 0.5, 0.9])


def real_looking(rng: np.random.Generator) -> Pair:
    size = (int(rng.integers(40, 90)), int(rng.integers(40, 90)))
    field = blob(rng, size, 8)
    salient = field > np.quantile(field, 0.8)
    soft = np.clip(gaussian_filter(salient.astype(float), 3) * 1.1 - 0.02 + rng.normal(0, 0.02, size), 0, 1)
    return soft, salient


def empty_target(rng: np.random.Generator) -> Pair:
    return blob(rng, (20, 30), 3), np.zeros((20, 30), bool)


def full_target(rng: np.random.Generator) -> Pair:
    return blob(rng, (20, 30), 3), np.ones((20, 30), bool)


def low_contrast(rng: np.random.Generator) -> Pair:
    soft, salient = real_looking(rng)
    return soft * 0.04 + 0.3, salient


def tiny(rng: np.random.Generator) -> Pair:
    size = (int(rng.integers(2, 5)), int(rng.integers(2, 5)))
    salient = np.zeros(size, bool)
    salient[0, 0] = True  # a center at the last row or column leaves pysodmetrics without a number
    return rng.random(size), salient


def flat(rng: np.random.Generator) -> Pair:
    salient = rng.random((16, 20)) < 0.4
    return np.full((16, 20), rng.choice([0.0, 51 / 255, 1.0])), salient


def perfect(rng: np.random.Generator) -> Pair:
    salient = real_looking(rng)[1]
    return salient.astype(np.float64), salient


KINDS: list[Callable[[np.random.Generator], Pair]] = [
    random_noise,
    real_looking,
    empty_target,
    full_target,
    low_contrast,
    tiny,
    flat,
    perfect,
]


def pairs_of(kind: Callable[[np.random.Generator], Pair], convention: str) -> list[Pair]:
    """Maps and masks in the types that a convention of pysodmetrics takes."""
    rng = np.random.default_rng(sum(map(ord, kind.__name__)))
    found = [kind(rng) for _ in range(5)]
    if convention == "stretched":
        return [((soft * 255).round().astype(np.uint8), salient * np.uint8(255)) for soft, salient in found]
    return [(soft.astype(convention), salient) for soft, salient in found]


@pytest.mark.parametrize("convention", ["float64", "float32", "stretched"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_figures_equal_pysodmetrics(kind: Callable[[np.random.Generator], Pair], convention: str) -> None:
    """Every figure equals that of pysodmetrics, of raw maps and of maps stretched to their own range."""
    reference = pytest.importorskip("py_sod_metrics")
    stretch = convention == "stretched"
    pairs = pairs_of(kind, convention)
    for name, measure in MEANS.items():
        theirs, ours = getattr(reference, name)(), measure(stretch=stretch)
        for soft, salient in pairs:
            theirs.step(soft, salient, normalize=stretch)
            ours.step(soft, salient)
        assert ours.result() == pytest.approx(next(iter(theirs.get_results().values())), abs=1e-6), name
    handler = reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3)
    f, e = reference.FmeasureV2({"fm": handler}), reference.Emeasure()
    our_f, our_e = SaliencyFMeasure(stretch=stretch), EnhancedAlignment(stretch=stretch)
    for soft, salient in pairs:
        for accumulator in (f, e):
            accumulator.step(soft, salient, normalize=stretch)
        for ours_too in (our_f, our_e):
            ours_too.step(soft, salient)
    expected = (f.get_results()["fm"], e.get_results()["em"])
    for measured, curve, adaptive in (
        (our_f.result(), expected[0]["dynamic"], expected[0]["adaptive"]),
        (our_e.result(), expected[1]["curve"], expected[1]["adp"]),
    ):
        np.testing.assert_allclose(measured.curve, curve[::-1], atol=1e-6)  # theirs begins at threshold 255
        assert measured.maximum == pytest.approx(curve.max(), abs=1e-6)
        assert measured.mean == pytest.approx(curve.mean(), abs=1e-6)
        assert measured.adaptive == pytest.approx(adaptive, abs=1e-6)


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("accumulator", ALL, ids=lambda kind: str(kind.__name__))
def test_merged_parts_are_the_whole(accumulator: Any, stretch: bool) -> None:
    """Accumulators of parts of the images, merged in order, give the very figures of one over all of them."""
    pairs = [pair for kind in KINDS for pair in pairs_of(kind, "float64")]
    whole, parts = accumulator(stretch=stretch), accumulator(stretch=stretch)
    for start in range(0, len(pairs), 7):
        part = accumulator(stretch=stretch)
        for soft, salient in pairs[start : start + 7]:
            whole.step(soft, salient)
            part.step(soft, salient)
        parts.merge(part)
    if isinstance(whole, MeanOfImages):
        assert parts.result() == whole.result()
    else:
        np.testing.assert_allclose(parts.result().curve, whole.result().curve, atol=1e-12)
        assert (parts.adaptive, parts.empty_targets) == (whole.adaptive, whole.empty_targets)


def test_a_map_of_low_contrast_is_perfect_only_when_stretched() -> None:
    """Stretching turns a tenth of the contrast into all of it; measured as it is, the map is far from perfect."""
    salient = np.zeros((12, 16), bool)
    salient[3:9, 4:12] = True
    for measure in (StructureMeasure, WeightedFMeasure, EnhancedAlignment):
        raw, stretched = measure(), measure(stretch=True)
        for accumulator in (raw, stretched):
            accumulator.step(salient * 0.1, salient)
        figures = [one.result() if isinstance(one, MeanOfImages) else one.result().mean for one in (raw, stretched)]
        assert figures[1] > 0.99 > 0.75 > figures[0], measure.__name__


def test_structure_of_constant_maps_by_hand() -> None:
    """Empty targets score one less the map's mean, full ones its mean, whatever its structure."""
    soft = np.array([[0.0, 0.5], [0.25, 0.25]])
    assert structure_measure(soft, np.zeros((2, 2), bool)) == 0.75
    assert structure_measure(soft, np.ones((2, 2), bool)) == 0.25


@pytest.mark.parametrize("corner", [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_objects_in_a_corner_have_a_structure(corner: tuple[int, int]) -> None:
    """Where the object's center leaves quadrants without a pixel, the figure is a number and a perfect map is best."""
    salient = np.zeros((3, 4), bool)
    salient[corner] = True
    perfect_score = structure_measure(salient.astype(float), salient)
    worse = structure_measure(1 - salient.astype(float), salient)
    assert perfect_score == pytest.approx(1) and 0 <= worse < 0.6


def test_single_pixels_have_figures() -> None:
    """An image of one pixel has finite figures of every measure, right or wrong."""
    for value, salient in ((0.0, False), (1.0, False), (0.0, True), (1.0, True)):
        for measure in ALL:
            accumulator = measure()
            accumulator.step(np.array([[value]]), np.array([[salient]]))
            result = accumulator.result()
            figures = [result] if isinstance(result, float) else [*result.curve, result.adaptive]
            assert all(0 <= figure <= 1 + 1e-12 for figure in figures), measure.__name__


def test_alignment_equals_the_pixel_by_pixel_formula() -> None:
    """The curve from counts equals the sum over pixels of the enhanced alignment of every thresholded map."""
    rng = np.random.default_rng(5)
    soft, salient = rng.random((7, 9)), rng.random((7, 9)) < 0.3
    accumulator = EnhancedAlignment()
    accumulator.step(soft, salient)
    b = salient - salient.mean()
    expected = []
    for threshold in range(256):
        passed = (soft * 255).astype(np.uint8) >= threshold
        a = passed - passed.mean()
        expected.append((((1 + 2 * a * b / (a**2 + b**2)) ** 2) / 4).sum() / (salient.size - 1))
    np.testing.assert_allclose(accumulator.result().curve, expected, atol=1e-12)


def test_far_errors_weigh_more_than_near_ones() -> None:
    """A false pixel far from the object lowers the weighted F-measure more than one beside it."""
    salient = np.zeros((30, 40), bool)
    salient[10:20, 5:15] = True
    scores = []
    for column in (15, 17, 22, 38):
        soft = salient.astype(float)
        soft[14, column] = 1
        scores.append(weighted_f_measure(soft, salient))
    assert 1 > scores[0] > scores[1] > scores[2] > scores[3]
    assert weighted_f_measure(salient.astype(float), salient) == pytest.approx(1)


@pytest.mark.parametrize("measure", ALL, ids=lambda kind: str(kind.__name__))
@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), bool), r"shape \(2, 3\), the target \(3, 2\).*resize the map to its mask"),
        (np.zeros((2, 2)), np.eye(2, dtype=np.uint8), "must be 0 and 255, but the largest value is 1.*multiply it by"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "must be bool or uint8, not float64"),
        (np.zeros((2, 2), np.int32), np.zeros((2, 2), bool), r"float32 or float64 in \[0, 1\], or uint8, not int32"),
        (np.full((2, 2), 1.5), np.zeros((2, 2), bool), r"must lie in \[0, 1\], not in \[1.5, 1.5\]"),
        (np.full((2, 2), np.nan), np.zeros((2, 2), bool), r"must lie in \[0, 1\]"),
    ],
)
def test_wrong_input_is_refused(measure: Any, prediction: np.ndarray, target: np.ndarray, message: str) -> None:
    """Maps and masks that do not fit are named, with the right form beside them, and nothing is counted."""
    accumulator = measure()
    with pytest.raises(ValueError, match=message):
        accumulator.step(prediction, target)
    with pytest.raises(ValueError, match="there is no image"):
        accumulator.result()
