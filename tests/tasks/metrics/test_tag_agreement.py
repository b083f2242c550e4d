"""Tag agreement: its definition on a case worked by hand, its laws, and what it refuses."""

import numpy as np
import pytest

from tag2mask.tasks.metrics.tag_agreement import shown_classes, tag_agreement


def table(*rows: str) -> np.ndarray:
    """(N, C) bool from rows of 0 and 1."""
    return np.array([[mark == "1" for mark in row] for row in rows])


def test_a_case_worked_by_hand() -> None:
    """Two of three shown pairs are right of four tagged, and F1 is the harmonic mean of both shares."""
    agreement = tag_agreement(table("100", "011"), table("110", "110"))
    assert agreement["tag_precision"] == pytest.approx(2 / 3)
    assert agreement["tag_recall"] == pytest.approx(2 / 4)
    assert agreement["tag_f1"] == pytest.approx(2 / (3 / 2 + 4 / 2))


def test_showing_the_tags_is_perfect_and_nothing_is_zero() -> None:
    """Predictions that show just what is tagged have 1, empty ones 0, without dividing by zero."""
    tagged = table("101", "010", "011")
    assert set(tag_agreement(tagged, tagged).values()) == {1.0}
    assert set(tag_agreement(np.zeros_like(tagged), tagged).values()) == {0.0}


def test_one_class_for_another_costs_both_measures() -> None:
    """A class that is taken for another lowers precision, recall and F1."""
    tagged = table("10", "10", "01", "01")
    confused = tag_agreement(table("10", "01", "01", "01"), tagged)
    assert max(confused.values()) < 1


def test_a_class_is_shown_above_a_share_of_the_pixels() -> None:
    """A class needs more than the smallest share; background and ignored pixels are no classes."""
    labels = np.zeros((10, 10), np.uint8)
    labels[0, :2], labels[1, :3], labels[5:] = 1, 3, 255
    assert shown_classes(labels, 4, 0.02).tolist() == [False, False, True, False]
    assert shown_classes(labels, 4, 0.0).tolist() == [True, False, True, False]


def test_what_cannot_be_compared_is_refused() -> None:
    """Other shapes, or no tag at all, are named."""
    with pytest.raises(ValueError, match="both must be"):
        tag_agreement(table("10"), table("101"))
    with pytest.raises(ValueError, match="no image has a tag"):
        tag_agreement(table("10"), table("00"))
