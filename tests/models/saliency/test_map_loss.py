"""The loss on the saliency map: by hand, at its limits, and as a training would use it."""

import math

import pytest
import torch
from torch import Tensor

from tag2mask.models.saliency.map_loss import LEAST, saliency_map_loss
from tag2mask.models.saliency.reciprocal_attention import Score, combined

SCORES: tuple[Score, ...] = ("difference", "mean", "foreground")


def logits(*probabilities: float) -> Tensor:
    """One image of one row."""
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64)).reshape(1, 1, 1, -1)


@pytest.mark.parametrize(("score", "expected"), [("difference", 0.6), ("mean", 0.8), ("foreground", 0.8)])
def test_by_hand(score: Score, expected: float) -> None:
    """Complementary maps of .8 and .2 score .6, .8 and .8; the loss is -log of that plus one minus the overlap."""
    loss = saliency_map_loss(logits(0.8), logits(0.2), torch.ones(1, 1, 1, 1), score=score)
    assert loss.item() == pytest.approx(-math.log(expected) + 1 - expected, abs=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_ignored_pixels_do_not_enter(score: Score) -> None:
    """Whatever logits and target are where a pixel is not valid, loss and gradient are those of the others."""
    torch.manual_seed(0)
    foreground, background = torch.randn(2, 2, 1, 4, 5).unbind()
    target, valid = torch.rand(2, 1, 4, 5).round(), torch.rand(2, 1, 4, 5) > 0.4
    given = [part.clone().requires_grad_() for part in (foreground, background)]
    loss = saliency_map_loss(*given, target, valid, score=score)
    other = saliency_map_loss(
        torch.where(valid, foreground, 9.0),
        torch.where(valid, background, -9.0),
        torch.where(valid, target, 7.0),
        valid,
        score=score,
    )
    torch.testing.assert_close(other, loss.detach())
    loss.backward()
    for part in given[: 1 if score == "foreground" else 2]:
        assert part.grad is not None and not part.grad[~valid].any() and part.grad[valid].any()


@pytest.mark.parametrize("score", SCORES)
def test_it_is_finite_and_small_for_a_right_map(score: Score) -> None:
    """At logits of a thousand, right or wrong, it is finite; right everywhere it costs nothing but the margin."""
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    sign = (2 * target - 1) * 1000
    right, wrong = (saliency_map_loss(s, -s, target, score=score) for s in (sign, -sign))
    assert right < 2 * LEAST < 1 < wrong and torch.isfinite(wrong)
    nothing = saliency_map_loss(sign, -sign, target, torch.zeros_like(target, dtype=torch.bool), score=score)
    assert nothing.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_shares_and_the_mean_halves_the_signed_difference(score: Score) -> None:
    """Each score lies in [0, 1]; the mean is (1 + F - B) / 2 and the difference what of F - B is not negative."""
    first, second = torch.rand(2, 100, dtype=torch.float64).unbind()
    found = combined(first, second, score)
    assert found.min() >= 0 and found.max() <= 1
    expected = {"difference": (first - second).clamp_min(0), "mean": 0.5 + (first - second) / 2, "foreground": first}
    torch.testing.assert_close(found, expected[score])


@pytest.mark.parametrize("score", SCORES)
def test_minimizing_it_finds_a_planted_mask(score: Score) -> None:
    """Gradient descent on free logits, from maps that agree on nothing, ends at the mask."""
    target = torch.zeros(1, 1, 6, 6)
    target[..., 2:5, 1:4] = 1
    parts = [torch.zeros(1, 1, 6, 6, requires_grad=True), torch.full((1, 1, 6, 6), -0.5, requires_grad=True)]
    optimizer = torch.optim.Adam(parts, lr=0.2)
    for _ in range(100):
        optimizer.zero_grad()
        saliency_map_loss(*parts, target, score=score).backward()
        optimizer.step()
    found = combined(parts[0].sigmoid(), parts[1].sigmoid(), score)
    assert (found - target).abs().max() < 0.1
