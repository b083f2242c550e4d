"""The rule about small foreground."""

import numpy as np

from tag2mask.tasks.algorithms.foreground import drop_small_foreground, foreground_share


def test_share_counts_classes_alone() -> None:
    """Background and ignored pixels are no foreground; 1 and 254 are."""
    assert foreground_share(np.array([[0, 1, 254, 255, 0]], np.uint8)) == 2 / 5


def test_share_equal_to_the_minimum_passes() -> None:
    """One pixel in a hundred is enough at 0.01 and too little above it."""
    labels = np.zeros((10, 10), np.uint8)
    labels[4, 4] = 9
    assert drop_small_foreground(labels, 0.01) is labels
    assert (drop_small_foreground(labels, 0.011) == 255).all()


def test_minimum_of_zero_drops_nothing() -> None:
    """With the rule off, a map without foreground passes."""
    labels = np.zeros((3, 3), np.uint8)
    assert drop_small_foreground(labels, 0.0) is labels
