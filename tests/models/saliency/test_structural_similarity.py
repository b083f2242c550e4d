"""The structural similarity loss against a loop over pairs of regions, and its limits."""

import math

import pytest
import torch
from torch import Tensor

from tag2mask.models.saliency.structural_similarity import structural_similarity_loss


def _example(count: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities, mask, superpixels and valid pixels, (N, 1, 6, 7) each."""
    torch.manual_seed(seed)
    shape = (count, 1, 6, 7)
    probabilities = torch.rand(shape, dtype=torch.float64)
    return probabilities, torch.rand(shape).round(), torch.randint(0, 5, shape), torch.rand(shape) > 0.3


def _slow(probabilities: Tensor, target: Tensor, regions: Tensor, valid: Tensor) -> float:
    """The sum over pairs, image by image, over the regions that have a valid pixel."""
    total = 0.0
    for p, g, s, v in zip(probabilities, target, regions, valid, strict=True):
        numbers = sorted(set(s[v].tolist()))
        predicted = [float(p[v & (s == number)].mean()) for number in numbers]
        given = [float(g[v & (s == number)].mean()) for number in numbers]
        ours = [[a - b + 1 for b in predicted] for a in predicted]
        theirs = [[a - b + 1 for b in given] for a in given]
        whole, other = sum(map(sum, ours)), sum(map(sum, theirs))
        for i in range(len(numbers)):
            for j in range(len(numbers)):
                right, left = theirs[i][j] / other, max(ours[i][j] / whole, 1e-12)
                total += right * (math.log(right) - math.log(left)) if right > 0 else 0.0
    return total / len(probabilities)


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_loop(seed: int) -> None:
    """Vectorized over the batch it equals the sum over pairs, whichever pixels are ignored."""
    probabilities, target, regions, valid = _example(3, seed)
    for keep in (torch.ones_like(valid), valid):
        found = structural_similarity_loss(probabilities, target, regions, None if keep.all() else keep)
        assert found.item() == pytest.approx(_slow(probabilities, target, regions, keep), rel=1e-4, abs=1e-7)


def test_a_perfect_prediction_costs_nothing() -> None:
    """At P = G the loss is 0, hard or soft, and elsewhere it is never negative."""
    probabilities, target, regions, _ = _example()
    assert structural_similarity_loss(target, target, regions).item() == pytest.approx(0, abs=1e-6)
    assert structural_similarity_loss(probabilities, probabilities, regions).item() == pytest.approx(0, abs=1e-6)
    assert structural_similarity_loss(probabilities, target, regions).item() > 0


def test_a_hard_inverted_pair_is_finite() -> None:
    """Two regions predicted the wrong way round cost 13.47 and not infinity, with a finite gradient."""
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    inverted = (1 - target).requires_grad_()
    loss = structural_similarity_loss(inverted, target, torch.tensor([0, 1]).reshape(1, 1, 1, 2))
    loss.backward()
    assert loss.item() == pytest.approx(13.47, abs=0.005)
    assert inverted.grad is not None and torch.isfinite(inverted.grad).all()


def test_only_relations_count() -> None:
    """A constant added to every pixel changes nothing, nor do other numbers for the same superpixels, with gaps."""
    probabilities, target, regions, _ = _example()
    expected = structural_similarity_loss(probabilities / 2, target, regions)
    torch.testing.assert_close(structural_similarity_loss(probabilities / 2 + 0.4, target, regions), expected)
    renamed = torch.tensor([11, 4, 0, 7, 30])[regions]
    torch.testing.assert_close(structural_similarity_loss(probabilities / 2, target, renamed), expected)


def test_ignored_pixels_teach_nothing() -> None:
    """What lies at an ignored pixel, even no number, changes neither the loss nor a gradient but its own zero one."""
    probabilities, target, regions, valid = _example()
    one = probabilities.clone().requires_grad_()
    other = torch.where(valid, probabilities, 0.9).requires_grad_()
    first = structural_similarity_loss(one, target, regions, valid)
    second = structural_similarity_loss(other, torch.where(valid, target, math.nan), regions, valid)
    torch.testing.assert_close(first, second)
    first.backward()
    second.backward()
    torch.testing.assert_close(one.grad, other.grad)
    assert one.grad is not None and not one.grad[~valid].any() and one.grad[valid].any()
    nothing = structural_similarity_loss(one, target, regions, torch.zeros_like(valid))
    assert nothing.item() == 0


def test_its_gradient_descends() -> None:
    """Following the gradient alone takes a random prediction's relations to those of the mask."""
    _, target, regions, _ = _example()
    logits = torch.zeros_like(target).normal_(generator=torch.Generator().manual_seed(1)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = structural_similarity_loss(logits.sigmoid(), target, regions)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-4
