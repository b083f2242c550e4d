"""Pseudo targets on planted maps, and which images a step shows."""

from collections import Counter

import numpy as np
import pytest

from tag2mask.configs.schema import Cosaliency, PseudoTargets
from tag2mask.tasks.groups.batches import GroupBatches
from tag2mask.tasks.groups.sources import Decoded, GroupSource, pseudo_targets

SIDE = 32
TAGS = ((1,), (1, 2), (2,), (1, 2), (3,), (1,), (2,), (3,), (1, 3))


def test_targets_of_planted_maps() -> None:
    """Foreground, background, a rival's foreground and doubt are distinguished pixel by pixel."""
    #                   own  rival  none  salient, no cam  cam, not salient  both cams  faint cam
    saliency = np.array([[255, 255, 0, 255, 0, 255, 0]], np.uint8)
    first = np.array([[0.9, 0.0, 0.0, 0.0, 0.9, 0.9, 0.3]])
    second = np.array([[0.0, 0.9, 0.0, 0.0, 0.0, 0.9, 0.0]])
    cams = np.stack([first, second])
    found = pseudo_targets(saliency, cams, PseudoTargets())
    assert found[0].tolist() == [[1, 0, 0, 255, 255, 1, 255]]
    assert found[1].tolist() == [[0, 1, 0, 255, 255, 1, 255]]
    plain = pseudo_targets(saliency, cams, PseudoTargets(rivals=False))
    assert plain[0].tolist() == [[1, 255, 0, 255, 255, 1, 255]]
    assert pseudo_targets(saliency, cams[:0], PseudoTargets()).shape == (0, 1, 7)


def test_contradicting_thresholds_are_refused() -> None:
    """Foreground cannot need less than background."""
    with pytest.raises(ValueError, match=r"salient 0.1 >= unsalient 0.2"):
        PseudoTargets(salient=0.1)


def drawn_source(empty: frozenset[tuple[int, int]] = frozenset()) -> GroupSource:
    """Images whose left half is group 1, middle third group 2 and last row group 3; `empty` targets have none."""

    def decode(position: int) -> Decoded:
        pixels = np.full((SIDE, SIDE, 3), 20 * position, np.uint8)
        planes = []
        for group in TAGS[position]:
            plane = np.zeros((SIDE, SIDE), np.uint8)
            if (position, group) not in empty:
                plane[
                    (slice(None), slice(0, 8)) if group == 1 else (slice(8, 12) if group == 2 else slice(-1, None))
                ] = 1
            planes.append(plane)
        return pixels, np.full((SIDE, SIDE), position, np.uint8), np.stack(planes)

    return GroupSource(("ant", "bee", "cat"), TAGS, decode, "drawn masks")


def batches(source: GroupSource | None = None, *, pairs: bool = True, size: int = 3) -> GroupBatches:
    config = Cosaliency(image_size=SIDE, group_size=size, iterations=12, jitter=(0, 0, 0, 0))
    return GroupBatches(source or drawn_source(), config, pairs=pairs)


def test_all_groups_take_turns_with_their_hardest_partner() -> None:
    """In each pass every group comes once, beside the tag that most often occurs with it, and in equal numbers."""
    given = batches()
    for start in (0, 3, 6):
        steps = [given.choose(step) for step in range(start, start + 3)]
        assert sorted(step[0][1] for step in steps) == [1, 2, 3]
        for step in steps:
            groups = [group for _, group in step]
            half = len(groups) // 2
            assert set(groups[:half]) == {groups[0]} and set(groups[half:]) == {{1: 2, 2: 1, 3: 1}[groups[0]]}
    given.prefetch.close()


def test_images_of_one_group_come_first() -> None:
    """A group's draw has its single-tag images before it has others, and depends on the step alone."""
    given, other = batches(pairs=False), batches(pairs=False)
    for step in range(9):
        chosen = given.choose(step)
        group = chosen[0][1]
        alone = {position for position, own in enumerate(TAGS) if own == (group,)}
        assert {position for position, _ in chosen[: len(alone)]} == alone
        assert other.choose(step) == chosen
    for one in (given, other):
        one.prefetch.close()


def test_the_other_group_finds_its_own_object_or_nothing() -> None:
    """The other consensus's target is empty, but for an image of both groups, where it is that group's object."""
    given = batches(size=4)
    seen = set()
    for step in range(12):
        chosen = given.choose(step)
        batch, saliency = given.batch(step, "cpu", multi_label=True)
        groups = {group for _, group in chosen}
        assert batch.split == len(chosen) // 2 and len(batch.images) == len(chosen)
        assert batch.valid.all() and batch.other_valid.all()
        for row, (position, group) in enumerate(chosen):
            (other,) = groups - {group}
            area = {1: 8 * SIDE, 2: 4 * SIDE, 3: SIDE}
            assert batch.target[row].sum() == area[group]
            assert batch.other_target[row].sum() == (area[other] if other in TAGS[position] else 0)
            assert float(saliency[row].max()) == pytest.approx(position / 255)
            assert batch.classes[row].tolist() == [float(n in TAGS[position]) for n in (1, 2, 3)]
            assert batch.group_classes[row].tolist() == [float(n == group) for n in (1, 2, 3)]
            seen.add(other in TAGS[position])
    given.prefetch.close()
    assert seen == {True, False}


def test_one_group_alone_and_plain_classes() -> None:
    """Without pairs a batch has one group, nothing of another is valid, and classes can be single numbers."""
    given = batches(pairs=False)
    batch, _ = given.batch(0, "cpu", multi_label=False)
    given.prefetch.close()
    assert batch.split == len(batch.images) and not batch.other_valid.any()
    assert batch.classes.tolist() == [given.choose(0)[0][1] - 1] * batch.split


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("size", [2, 3, 10])
def test_no_step_shows_a_single_image_of_a_group(pairs: bool, size: int) -> None:
    """However large a group, a step has at least two images of it, for whom there is something to share."""
    given = batches(drawn_source(frozenset({(1, 2), (3, 2), (6, 2)})), pairs=pairs, size=size)  # leaves one of group 2
    for step in range(12):
        counts = Counter(group for _, group in given.choose(step))
        assert len(counts) == 1 + pairs and 2 <= min(counts.values()) == max(counts.values()) <= size
    given.prefetch.close()


def test_empty_targets_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """An image whose target shows nothing is never drawn, and a group without any is named."""
    empty = frozenset({(0, 1), (4, 3), (8, 3)})
    given = batches(drawn_source(empty))
    assert given.groups == [1, 2] and "1 groups are not trained on" in caplog.text
    assert caplog.text.rstrip().endswith("show what they share: cat")
    assert not {pair for step in range(12) for pair in given.choose(step)} & empty
    given.prefetch.close()
