"""Initial labels: the published rule on all planes as an oracle, its corner cases, and laws."""

from typing import Any

import numpy as np
import pytest

from tag2mask.tasks.algorithms.evidence import Evidence
from tag2mask.tasks.algorithms.object_mining import mining_threshold
from tests.benchmarks.plain_labels import mine
from tests.tasks.mining_cases import SETTINGS, maps, mine_labels, mined, numbers, random_case


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("error")
def test_labels_equal_the_rule_on_all_planes(seed: int) -> None:
    """Present classes alone give the labels of the rule on all 21 planes, bit for bit and without a warning."""
    rng = np.random.default_rng(seed)
    seen = set()
    for _ in range(300):
        case = random_case(rng)
        settings = SETTINGS if rng.random() < 0.5 else random_settings(rng)
        settings = {**settings, "minimum_foreground": rng.choice([0.0, 0.01, 0.2])}
        labels = mine_labels(*case, **settings)
        assert labels.dtype == np.uint8
        saliency, attention, cams, classes = case
        by_class = (dict(sorted(zip(classes.tolist(), maps, strict=True))) for maps in (attention, cams))
        np.testing.assert_array_equal(labels, mine(saliency, *by_class, **settings))
        seen.update(np.unique(labels).tolist())
    assert {0, 255} < seen and len(seen) > 10


def random_settings(rng: np.random.Generator) -> dict[str, Any]:
    shares = ("foreground", "conflict", "attention_threshold", "cam_background")
    chosen = {name: float(rng.choice([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, rng.random()])) for name in shares}
    return {**chosen, "saliency_threshold": int(rng.integers(0, 256))}


def test_inputs_stay_as_they_are() -> None:
    """Mining changes none of its inputs."""
    case = random_case(np.random.default_rng(11))
    before = [array.copy() for array in case]
    mine_labels(*case)
    for array, copy in zip(case, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_order_of_classes_does_not_matter() -> None:
    """The same maps and classes in another order give the same labels."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        saliency, attention, cams, classes = random_case(rng)
        order = rng.permutation(len(classes))
        again = mine_labels(saliency, attention[order], cams[order], classes[order])
        np.testing.assert_array_equal(again, mine_labels(saliency, attention, cams, classes))


def test_scale_of_maps_does_not_matter() -> None:
    """Attention and CAM count relative to their own range: twice the scores are the same labels."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        saliency, attention, cams, classes = random_case(rng)
        again = mine_labels(saliency, 2 * (attention // 2), 2 * (cams // 2), classes)
        np.testing.assert_array_equal(again, mine_labels(saliency, attention // 2, cams // 2, classes))


def test_mirrored_inputs_give_mirrored_labels() -> None:
    """The rule looks at pixels and their ranks, not at their places."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        saliency, attention, cams, classes = random_case(rng)
        labels = mine_labels(saliency, attention, cams, classes)
        mirrored = mine_labels(saliency[:, ::-1], attention[..., ::-1], cams[..., ::-1], classes)
        np.testing.assert_array_equal(mirrored, labels[:, ::-1])
        turned = mine_labels(saliency.T, attention.swapaxes(1, 2), cams.swapaxes(1, 2), classes)
        np.testing.assert_array_equal(turned, labels.T)


def test_tie_with_background_is_background() -> None:
    """Attention 0.8 against a background evidence of 0.8 is background, hence ignored as salient but unexplained."""
    attention = maps([204 / 255, 205 / 255, 1.0, 0.0])
    labels = mined([51, 51, 255, 0], attention, maps([0.0] * 4), numbers(7))
    assert labels == [255, 7, 7, 0]


def test_near_ties_fall_as_the_published_types_let_them() -> None:
    """In float32 a background evidence of 0.4 is just below an attention of 0.4, which therefore wins."""
    attention = maps([102 / 255, 1.0, 0.0])
    assert mined([153, 255, 0], attention, maps([0.0] * 3), numbers(7)) == [7, 7, 0]


def test_tie_between_classes_goes_to_the_lowest() -> None:
    """Two classes with the same evidence give the lower number, in whatever order they come."""
    attention = maps([0.5, 1.0, 0.0], [0.5, 0.0, 1.0])
    cams = maps([0.0] * 3, [0.0] * 3)
    assert mined([255] * 3, attention, cams, numbers(3, 9)) == [3, 3, 9]
    assert mined([255] * 3, attention, cams, numbers(9, 3)) == [3, 9, 3]


def test_pixel_without_any_evidence_is_background() -> None:
    """Where background and class both fall below the foreground threshold, zero wins: then saliency ignores it."""
    attention = maps([0.2, 1.0, 0.0])
    assert mined([200, 255, 0], attention, maps([0.0] * 3), numbers(4)) == [255, 4, 0]
    assert mined([200, 255, 0], attention, maps([0.0] * 3), numbers(4), saliency_threshold=201) == [0, 4, 0]


def test_two_strong_evidences_are_a_conflict() -> None:
    """Class against class and class against background are ignored where both exceed the conflict threshold."""
    attention = maps([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0])
    assert mined([255, 255, 0, 0], attention, maps([0.0] * 4, [0.0] * 4), numbers(1, 2)) == [255, 1, 255, 0]


def test_strong_attention_that_loses_is_ignored() -> None:
    """Attention above 0.8 counts as salient even where background wins."""
    attention = maps([0.85, 0.75, 1.0, 0.0])
    labels = mined([20, 20, 255, 0], attention, maps([0.0] * 4), numbers(5), conflict=0.95)
    assert labels == [255, 0, 5, 0]


def test_mined_pixels_are_ignored_not_labeled() -> None:
    """Background with more CAM than the median of the class's own pixels becomes 255, never the class."""
    attention = maps([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    cams = maps([0.2, 0.5, 1.0, 0.6, 0.5, 0.0])
    assert mined([255, 255, 255, 0, 0, 0], attention, cams, numbers(8)) == [8, 8, 8, 255, 0, 0]


@pytest.mark.filterwarnings("error")
def test_no_value_above_the_median_adds_nothing() -> None:
    """A class without a pixel whose CAM has one value above the background threshold mines nothing, silently."""
    flat = maps([0.0] * 4)
    assert mined([0] * 4, flat, maps([0.7, 0.7, 0.7, 0.0]), numbers(6)) == [0, 0, 0, 0]
    assert mining_threshold(Evidence.scaled(maps([0.7, 0.7, 0.0])[0]), np.zeros((1, 3), bool), 0.3) is None


def test_class_without_a_pixel_mines_its_upper_quarter() -> None:
    """Without a pixel of its own, a class takes the median of the upper half of its CAM above 0.3 as threshold."""
    cams = maps([0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
    threshold = mining_threshold(Evidence.scaled(cams[0]), np.zeros(cams[0].shape, bool), 0.3)
    assert threshold == pytest.approx(0.8)  # 0.4 .. 1.0 has the median 0.65; above it are 0.7, 0.8, 1.0
    assert mined([0] * 8, maps([0.0] * 8), cams, numbers(2)) == [0] * 7 + [255]


def test_own_pixels_without_evidence_fall_back() -> None:
    """A class whose pixels all have a CAM of zero is mined as one without pixels."""
    attention = maps([1.0, 0.0, 0.0, 0.0, 0.0])
    assert mined([255, 0, 0, 0, 0], attention, maps([0.0, 0.4, 0.5, 0.9, 1.0]), numbers(3)) == [3, 0, 0, 0, 255]


def test_cam_without_evidence_mines_nothing() -> None:
    """A constant CAM, scaled to zero, adds nothing."""
    assert mined([0] * 3, maps([0.0] * 3), maps([0.9] * 3), numbers(1)) == [0, 0, 0]


def test_image_without_foreground_is_ignored_whole() -> None:
    """Nothing but background is 255 everywhere, unless the rule about small foreground is off."""
    saliency, flat = np.zeros((4, 5), np.uint8), np.zeros((1, 4, 5), np.uint8)
    assert (mine_labels(saliency, flat, flat, numbers(1)) == 255).all()
    assert (mine_labels(saliency, flat, flat, numbers(1), minimum_foreground=0) == 0).all()


def test_one_percent_of_foreground_is_enough() -> None:
    """Of 200 pixels, two with a class keep the map and one does not."""
    for pixels, background in ((2, 0), (1, 255)):
        saliency = np.zeros((10, 20), np.uint8)
        saliency[0, :pixels] = 255
        attention = saliency[None]
        labels = mine_labels(saliency, attention, np.zeros_like(attention), numbers(12))
        expected = np.full_like(saliency, background)
        expected[0, :pixels] = 12 if background == 0 else 255
        np.testing.assert_array_equal(labels, expected)


def test_image_without_tags_has_no_class() -> None:
    """No class at all leaves background and what is salient."""
    none = np.zeros((0, 1, 3), np.uint8)
    assert mined([0, 31, 32], none, none, numbers()) == [0, 0, 255]


def test_constant_map_is_scaled_to_zero() -> None:
    """A map without a range carries no evidence instead of dividing by zero."""
    flat = Evidence.scaled(np.full((3, 4), 178, np.uint8))
    assert not flat.worth[flat.levels].any()
