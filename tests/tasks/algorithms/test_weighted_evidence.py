"""Class evidence weighted by saliency: its formula and laws, planted objects behind the CRF, and the doors."""

import numpy as np
import pytest

from tag2mask.configs.schema import Refinement
from tag2mask.tasks.algorithms.weighted_evidence import class_evidence, geometric_mean, label_by_evidence

OBJECT = (slice(12, 36), slice(20, 52))
"""Where the drawn image has its object."""


def drawn_image() -> np.ndarray:
    """(48, 64, 3) uint8: a red object before a blue background, with a little noise."""
    image = np.full((48, 64, 3), (40, 60, 170), np.uint8)
    image[OBJECT] = (190, 80, 50)
    image += np.random.default_rng(0).integers(0, 5, image.shape, np.uint8)
    return image


def blob(row: int, column: int, width: float) -> np.ndarray:
    """(48, 64) float32: a Gaussian of height 1."""
    y, x = np.mgrid[:48, :64]
    values: np.ndarray = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2)).astype(np.float32)
    return values


def test_evidence_is_the_power_of_the_map_times_the_softened_saliency() -> None:
    """At each pixel the evidence is that of the formula, written out."""
    rng = np.random.default_rng(3)
    saliency, cams = rng.integers(0, 256, (4, 5), np.uint8), rng.random((2, 4, 5), np.float32)
    evidence = class_evidence(saliency, cams, power=1.5, saliency_weight=0.3)
    for k, y, x in np.ndindex(2, 4, 5):
        expected = float(cams[k, y, x]) ** 1.5 * (0.7 + 0.3 * saliency[y, x] / 255)
        assert evidence[k, y, x] == pytest.approx(expected, rel=1e-5)


def test_both_maps_have_to_see_a_class() -> None:
    """Of one map the mean is that map, of two the root of their product: nothing where one of them sees nothing."""
    first, second = blob(20, 20, 5)[None], blob(20, 30, 5)[None]
    second[:, :, 40:] = 0
    assert geometric_mean([first]) is first
    both = geometric_mean([first, second])
    np.testing.assert_allclose(both, np.sqrt(first * second), atol=1e-6)
    assert both.dtype == np.float32 and both.max() <= 1 and not both[:, :, 40:].any()


def test_the_weight_runs_from_class_maps_alone_to_the_plain_product() -> None:
    """Without weight saliency changes nothing; with all of it, nothing is left where nothing is salient."""
    cams = np.random.default_rng(1).random((3, 6, 7), np.float32)
    saliency = np.zeros((6, 7), np.uint8)
    saliency[:3] = 255
    np.testing.assert_array_equal(class_evidence(saliency, cams, power=1, saliency_weight=0), cams)
    product = class_evidence(saliency, cams, power=1, saliency_weight=1)
    np.testing.assert_array_equal(product[:, :3], cams[:, :3])
    assert not product[:, 3:].any()


def test_a_coarse_map_and_a_wrong_saliency_find_the_object() -> None:
    """The CRF fills the object to its borders though the map sees its middle and saliency misses a half of it."""
    saliency = np.zeros((48, 64), np.uint8)
    saliency[12:36, 20:36] = 255
    evidence = class_evidence(saliency, blob(24, 36, 12)[None], power=2, saliency_weight=0.5)
    labels = label_by_evidence(drawn_image(), evidence, np.array([7], np.uint8), background=0.1, config=Refinement())
    expected = np.zeros((48, 64), np.uint8)
    expected[OBJECT] = 7
    assert (labels != expected).mean() < 0.02
    assert ((evidence[0] > 0.1) != (expected > 0)).mean() > 0.04


def test_a_stronger_background_labels_no_more() -> None:
    """The foreground shrinks as the background's evidence grows, from everything to nothing."""
    evidence, classes = blob(24, 36, 12)[None], np.array([7], np.uint8)
    shares = [
        (label_by_evidence(drawn_image(), evidence, classes, background=b, config=Refinement(iterations=0)) == 7).mean()
        for b in (0.0, 0.1, 0.3, 0.6, 1.0)
    ]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1 and shares[-1] == 0


def test_the_order_of_the_classes_does_not_matter() -> None:
    """Two classes in the other order have the same labels."""
    evidence, classes = np.stack([blob(24, 28, 8), blob(24, 46, 8)]), np.array([3, 9], np.uint8)
    forward = label_by_evidence(drawn_image(), evidence, classes, background=0.1, config=Refinement())
    back = label_by_evidence(
        drawn_image(), evidence[::-1].copy(), classes[::-1].copy(), background=0.1, config=Refinement()
    )
    np.testing.assert_array_equal(forward, back)
    assert set(np.unique(forward)) == {0, 3, 9}


def test_without_a_class_everything_is_background() -> None:
    """An image without a tag shows nothing."""
    empty = np.zeros((0, 48, 64), np.float32)
    evidence = class_evidence(np.full((48, 64), 255, np.uint8), empty, power=2, saliency_weight=0.5)
    labels = label_by_evidence(drawn_image(), evidence, np.zeros(0, np.uint8), background=0.1, config=Refinement())
    assert labels.shape == (48, 64) and not labels.any()


@pytest.mark.parametrize(
    ("saliency", "cams", "reported"),
    [
        (np.zeros((4, 5), np.float32), np.zeros((1, 4, 5)), "must be .H, W. uint8"),
        (np.zeros((4, 6), np.uint8), np.zeros((1, 4, 5)), "of the same size"),
        (np.zeros((4, 5), np.uint8), np.full((1, 4, 5), 255.0), "lie in .0, 1."),
        (np.zeros((4, 5), np.uint8), np.full((1, 4, 5), np.nan), "lie in .0, 1."),
    ],
)
def test_what_does_not_fit_is_refused(saliency: np.ndarray, cams: np.ndarray, reported: str) -> None:
    """Another size, another type, or maps that are not in [0, 1] are named."""
    with pytest.raises(ValueError, match=reported):
        class_evidence(saliency, cams, power=2, saliency_weight=0.5)
