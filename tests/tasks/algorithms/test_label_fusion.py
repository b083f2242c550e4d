"""Fusion of probabilities and labels: Bayes' rule written out, its laws, planted errors, and the doors."""

import numpy as np
import pytest

from tag2mask.tasks.algorithms.label_fusion import fuse, with_classes

CLASSES = np.array([0, 4, 9], np.uint8)


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (3, 6, 7) of classes 0, 4 and 9, and labels (6, 7), some ignored."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1, 1, 1], (6, 7)).transpose(2, 0, 1).astype(np.float32)
    return probabilities, rng.choice([0, 4, 9, 255], (6, 7)).astype(np.uint8)


def test_it_is_bayes_rule() -> None:
    """At each pixel the posterior is prior times likelihood of the label, over their sum."""
    probabilities, labels = random_case(0)
    fused = fuse(probabilities, CLASSES, labels, 0.8)
    for y, x in np.ndindex(labels.shape):
        prior = probabilities[:, y, x].astype(float)
        likelihood = np.where(labels[y, x] == CLASSES, 0.8, 0.1) if labels[y, x] != 255 else np.ones(3)
        np.testing.assert_allclose(fused[:, y, x], prior * likelihood / (prior * likelihood).sum(), rtol=1e-5)


def test_ignored_labels_and_chance_leave_the_prediction() -> None:
    """Where labels say nothing, or are no better than chance, the probabilities stay what they are."""
    probabilities, labels = random_case(1)
    np.testing.assert_allclose(fuse(probabilities, CLASSES, np.full_like(labels, 255), 0.9), probabilities, rtol=1e-5)
    np.testing.assert_allclose(fuse(probabilities, CLASSES, labels, 1 / 3), probabilities, rtol=1e-5)


def test_an_unsure_prediction_takes_the_labels() -> None:
    """Where the segmenter finds all classes alike, the strongest is that of the label."""
    _, labels = random_case(2)
    fused = fuse(np.full((3, 6, 7), 1 / 3, np.float32), CLASSES, labels, 0.6)
    known = labels != 255
    np.testing.assert_array_equal(CLASSES[fused.argmax(axis=0)][known], labels[known])


def test_the_order_of_the_classes_does_not_matter() -> None:
    """Planes in another order are the same posterior in that order."""
    probabilities, labels = random_case(3)
    order = [2, 0, 1]
    reordered = fuse(probabilities[order], CLASSES[order], labels, 0.7)
    np.testing.assert_allclose(reordered, fuse(probabilities, CLASSES, labels, 0.7)[order], rtol=1e-5)


def test_two_observers_with_other_errors_are_right_together() -> None:
    """A sure prediction with a hole and labels with a wrong corner have the whole object when fused."""
    truth = np.zeros((20, 30), np.uint8)
    truth[5:15, 8:22] = 4
    object_probability = np.where(truth == 4, 0.95, 0.05).astype(np.float32)
    object_probability[8:12, 12:16] = 0.45  # a hole of which the segmenter is not sure
    labels = truth.copy()
    labels[:5, :8] = 4  # a corner that the segmenter knows as background
    fused = fuse(np.stack([1 - object_probability, object_probability]), CLASSES[:2], labels, 0.8)
    np.testing.assert_array_equal(CLASSES[fused.argmax(axis=0)], truth)


def test_a_class_of_the_labels_alone_gets_a_plane() -> None:
    """A class that the prediction does not know takes part with a probability of zero; ignored is no class."""
    probabilities, labels = random_case(4)
    planes, numbers = with_classes(probabilities[:2], CLASSES[:2], labels)
    assert numbers.tolist() == [0, 4, 9] and numbers.dtype == np.uint8
    np.testing.assert_array_equal(planes[:2], probabilities[:2])
    assert not planes[2].any()
    assert with_classes(probabilities, CLASSES, labels)[1].tolist() == [0, 4, 9]


def test_one_class_is_certain() -> None:
    """Background alone is certain whatever the trust, and a class without a plane is refused there too."""
    labels = random_case(6)[1]
    labels[labels != 255] = 0
    alone = np.ones((1, *labels.shape), np.float32)
    for trust in (0.85, 1.0):
        np.testing.assert_array_equal(fuse(alone, CLASSES[:1], labels, trust), alone)
    with pytest.raises(ValueError, match=r"the classes \[0\], of which"):
        fuse(alone, CLASSES[1:2], labels, 0.85)


@pytest.mark.parametrize(
    ("classes", "trust", "reported"),
    [
        (CLASSES, 1.0, "trust must be at least 1 / 3 and below 1, not 1"),
        (CLASSES, 0.2, "trust must be at least 1 / 3"),
        (CLASSES[:2], 0.7, "2 classes and labels of"),
        (np.array([0, 4, 8], np.uint8), 0.7, r"the classes \[9\], of which there are no probabilities"),
    ],
)
def test_what_does_not_fit_is_refused(classes: np.ndarray, trust: float, reported: str) -> None:
    """A trust that is certain or worse than chance, too few planes, or a class without one is named."""
    probabilities, labels = random_case(5)
    with pytest.raises(ValueError, match=reported):
        fuse(probabilities, classes, labels, trust)
