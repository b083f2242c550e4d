"""Groups from tags on planted tables."""

import logging

import numpy as np
import pytest

from tag2mask.tasks.algorithms.tag_groups import (
    alone_shares,
    cooccurrence,
    hard_negative,
    members,
    reference_order,
    reference_sets,
    warn_of_tags_never_alone,
)

TAGS = [(1,), (1, 2), (2, 3), (1, 2), (1, 3), (2,), (1,), (4, 1), (1, 2, 3), (), (1,)]
"""Tag 1 occurs eight times, three times alone, three times with 2, twice with 3, once with 4, which is never alone."""
CLASSES = 5
COUNTS = cooccurrence(TAGS, CLASSES)


def sets(tag: int = 1, *, references: int = 4, regroupings: int = 3, seed: int = 0) -> list[tuple[int, ...]]:
    return reference_sets(TAGS, tag, references=references, regroupings=regroupings, seed=seed, counts=COUNTS)


def test_counts_of_the_planted_table() -> None:
    """The table of co-occurrence is symmetric, with the tags' own counts on its diagonal."""
    counts = cooccurrence(TAGS, CLASSES)
    assert np.diag(counts).tolist() == [0, 8, 5, 3, 1, 0]
    assert counts[1].tolist() == [0, 8, 3, 2, 1, 0] and (counts == counts.T).all()
    assert members(TAGS, 3) == [2, 4, 8]


def test_single_tag_images_come_first_and_then_the_least_co_occurring() -> None:
    """Images with the tag alone, then by how often their other tags occur with it."""
    order = reference_order(TAGS, 1, cooccurrence(TAGS, CLASSES), np.random.default_rng(0))
    assert sorted(order[:3]) == [0, 6, 10]
    assert order[3:5] == [7, 4] and sorted(order[5:]) == [1, 3, 8]


def test_sets_are_topped_up_and_drawn_anew() -> None:
    """Two of the three single-tag images are drawn differently each time; five are topped up by the clearest others."""
    assert sets(references=5) == [(0, 4, 6, 7, 10)]
    many = reference_sets(TAGS, 1, references=2, regroupings=8, seed=0, counts=COUNTS)
    assert 1 < len(many) <= 3 and all(set(one) <= {0, 6, 10} and len(one) == 2 for one in many)
    assert len(set(many)) == len(many)


def test_sets_depend_on_the_seed_alone() -> None:
    """The same seed gives the same sets, whatever was drawn before; another one gives others."""
    first = reference_sets(TAGS, 1, references=6, regroupings=4, seed=3, counts=COUNTS)
    sets(2)
    assert reference_sets(TAGS, 1, references=6, regroupings=4, seed=3, counts=COUNTS) == first
    several = {tuple(reference_sets(TAGS, 1, references=6, regroupings=1, seed=s, counts=COUNTS)) for s in range(9)}
    assert len(several) > 1


def test_a_group_of_one_and_a_group_of_none() -> None:
    """A tag of one image has it as its reference, and a tag of none has no set."""
    assert sets(4) == [(7,)]
    assert sets(5) == []


def test_a_small_group_is_taken_whole_and_once() -> None:
    """Where all images of a tag are references, regroupings coincide and one is left."""
    assert sets(3, references=10, regroupings=5) == [(2, 4, 8)]


def test_the_hard_negative_is_the_most_co_occurring_tag() -> None:
    """The tag most often seen together with the group's, the lowest among equals, and none where it is alone."""
    counts = cooccurrence(TAGS, CLASSES)
    assert hard_negative(counts, 1, range(1, 5)) == 2
    assert hard_negative(counts, 1, [1, 3, 4]) == 3
    assert hard_negative(counts, 4, [2, 3, 4]) == 2
    assert hard_negative(counts, 1, [1]) is None


def test_tags_that_never_stand_alone_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the tags with less than a tenth of single-tag images, and no other."""
    assert alone_shares(TAGS, CLASSES) == {1: 3 / 8, 2: 1 / 5, 3: 0, 4: 0}
    with caplog.at_level(logging.WARNING, "tag2mask"):
        shares = warn_of_tags_never_alone(TAGS, ("ant", "bee", "cat", "dog", "elk"))
    assert shares == {"ant": 3 / 8, "bee": 1 / 5, "cat": 0, "dog": 0}
    assert "2 of 4 tags" in caplog.text and "cat (0 %), dog (0 %)" in caplog.text and "ant" not in caplog.text
    caplog.clear()
    warn_of_tags_never_alone([(1,), (2,)], ("ant", "bee"))
    assert not caplog.records
