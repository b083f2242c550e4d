"""Accumulated attention, against the published rule written out as a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tag2mask.tasks.training.accumulated_attention import FILE, AccumulatedAttention, AttentionAccumulator

Step = tuple[list[int], Tensor, Tensor]


def oracle(tags: np.ndarray, epochs: list[list[Step]], first: int) -> dict[tuple[int, int], np.ndarray]:
    """(image, class) -> uint8 map: the rule word for word, one cell at a time; a pair without a map is absent."""
    stored: dict[tuple[int, int], np.ndarray] = {}
    for epoch, steps in enumerate(epochs):
        for images, logits, maps in steps if epoch >= first else []:
            for b, image in enumerate(images):
                for c in np.flatnonzero(tags[image]):
                    pair, values = (image, int(c)), maps[b, c].numpy()
                    positive = np.array([[max(float(v), 0.0) for v in row] for row in values], np.float32)
                    attention = np.round(positive / np.float32(positive.max() + 1e-8) * 255).astype(np.uint8)
                    certain = 1 / (1 + np.exp(-float(logits[b, c]))) >= 0.1
                    if (epoch == len(epochs) - 1 and pair not in stored) or (certain and pair not in stored):
                        stored[pair] = attention
                    elif certain:
                        for cell in np.ndindex(attention.shape):
                            stored[pair][cell] = max(stored[pair][cell], attention[cell])
    return stored


def random_training(seed: int) -> tuple[np.ndarray, list[list[Step]]]:
    """Tags of six images, and four epochs of three steps: images, logits, maps (3 classes, 4x5 cells)."""
    generator = torch.Generator().manual_seed(seed)
    tags = (torch.rand(6, 3, generator=generator) < 0.6).float().numpy()
    epochs = []
    for _ in range(4):
        order = torch.randperm(6, generator=generator).tolist()
        logits, maps = torch.randn(6, 3, generator=generator) * 2 - 2, torch.randn(6, 3, 4, 5, generator=generator)
        maps[0, 0] = -1  # a map without positive evidence
        epochs.append([(order[i : i + 2], logits[i : i + 2], maps[i : i + 2]) for i in (0, 2, 4)])
    return tags, epochs


def accumulated(tags: np.ndarray, epochs: list[list[Step]], first: int) -> AttentionAccumulator:
    """What the accumulator makes of it."""
    accumulator = AttentionAccumulator(tags, (4, 5), 0.1)
    for epoch, steps in enumerate(epochs[first:], start=first):
        for images, logits, maps in steps:
            accumulator.add(images, logits, maps, last_epoch=epoch == len(epochs) - 1)
    return accumulator


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("first", [0, 1, 3])
def test_accumulation_equals_the_published_rule(seed: int, first: int) -> None:
    """Every map equals that of a literal loop over epochs, images, classes and cells."""
    tags, epochs = random_training(seed)
    expected = oracle(tags, epochs, first)
    accumulator = accumulated(tags, epochs, first)
    assert {tuple(pair) for pair in accumulator.pairs.tolist()} == set(expected)
    for row, pair in enumerate(accumulator.pairs.tolist()):
        np.testing.assert_array_equal(accumulator.maps[row].numpy(), expected[tuple(pair)])


def test_uncertain_classes_wait_for_the_last_epoch() -> None:
    """An improbable class gets no map before the last epoch, and then one only if it has none."""
    accumulator = AttentionAccumulator(np.array([[1.0, 1.0]]), (1, 2), 0.1)
    probable, improbable = torch.tensor([[3.0, -3.0]]), torch.tensor([[-3.0, -3.0]])
    left, right = (torch.tensor(row).expand(1, 2, 1, 2) for row in ([1.0, 0.0], [0.0, 1.0]))
    accumulator.add([0], probable, left, last_epoch=False)
    assert accumulator.maps.tolist() == [[[255, 0]], [[0, 0]]] and accumulator.seen.tolist() == [True, False]
    accumulator.add([0], improbable, right, last_epoch=True)
    assert accumulator.maps.tolist() == [[[255, 0]], [[0, 255]]] and accumulator.seen.tolist() == [True, True]


def test_order_within_an_epoch_does_not_matter() -> None:
    """The maximum over the epochs is the same in whatever order the images of an epoch come."""
    tags, epochs = random_training(11)
    turned = [list(reversed(steps)) for steps in epochs]
    assert torch.equal(accumulated(tags, epochs, 1).maps, accumulated(tags, turned, 1).maps)


def test_state_is_all_there_is_to_resume() -> None:
    """An accumulator that takes over the state of another goes on as that one would have."""
    tags, epochs = random_training(5)
    whole = accumulated(tags, epochs, 1)
    half = AttentionAccumulator(tags, (4, 5), 0.1)
    for images, logits, maps in epochs[1]:
        half.add(images, logits, maps, last_epoch=False)
    resumed = AttentionAccumulator(tags, (4, 5), 0.1)
    resumed.restore({name: value.clone() for name, value in half.state().items()})
    for epoch in (2, 3):
        for images, logits, maps in epochs[epoch]:
            resumed.add(images, logits, maps, last_epoch=epoch == 3)
    assert torch.equal(resumed.maps, whole.maps) and torch.equal(resumed.seen, whole.seen)


def test_maps_read_back_as_targets(tmp_path: Path) -> None:
    """What is saved comes back by image in [0, 1], with zero planes for classes that an image does not have."""
    tags, epochs = random_training(7)
    accumulator = accumulated(tags, epochs, 0)
    ids = tuple(f"photo{number}" for number in range(6))
    accumulator.save(tmp_path, ids)
    assert (tmp_path / FILE).exists()
    chosen = [4, 1, 3]
    with_tags = [number for number in chosen if tags[number].any()]
    target = AccumulatedAttention.read(tmp_path).target([ids[number] for number in with_tags], 3)
    assert target.shape == (len(with_tags), 3, 4, 5) and target.dtype == torch.float32
    for position, image in enumerate(with_tags):
        for c in range(3):
            row = accumulator.row.get((image, c))
            expected = torch.zeros(4, 5) if row is None else accumulator.maps[row].float() / 255
            assert torch.equal(target[position, c], expected)
