"""Values, limits and gradients of the losses."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.models.losses import (
    bernoulli_divergence,
    class_saliency_loss,
    integral_attention_loss,
    reciprocal_losses,
    segmentation_loss,
    tag_loss,
)


def _logit(*probabilities: float) -> Tensor:
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64))


def test_tag_loss_by_hand() -> None:
    """One present tag at probability 3/4 and one absent at 1/4 cost -log(3/4)."""
    logits = _logit(0.75, 0.25)[None]
    assert tag_loss(logits, torch.tensor([[1, 0]])).item() == pytest.approx(-math.log(3 / 4))


def test_integral_attention_by_hand() -> None:
    """Positions with attention and without it are averaged apart."""
    scores = _logit(0.5, 0.25, 0.25, 0.25).reshape(1, 1, 2, 2)
    attention = torch.tensor([1.0, 0.5, 0.0, 0.0]).reshape(1, 1, 2, 2)
    present = (-math.log(1 / 2) - 0.5 * math.log(1 / 4)) / 2
    assert integral_attention_loss(scores, attention).item() == pytest.approx(present - math.log(3 / 4), rel=1e-5)


@pytest.mark.parametrize("attention", [torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3), torch.rand(1, 2, 3, 3).round()])
@pytest.mark.parametrize("score", [1e4, -1e4])
def test_integral_attention_cannot_overflow(attention: Tensor, score: float) -> None:
    """At scores of ten thousand, with only present or only absent attention, value and gradient stay finite."""
    scores = torch.full((1, 2, 3, 3), score, requires_grad=True)
    loss = integral_attention_loss(scores, attention)
    loss.backward()
    assert torch.isfinite(loss)
    assert scores.grad is not None and torch.isfinite(scores.grad).all()


def test_integral_attention_gradient_by_hand() -> None:
    """Its gradient is the derivative written out: pushed up by t s(-x) where seen, down by s(x) elsewhere."""
    torch.manual_seed(0)
    scores, attention = torch.randn(1, 2, 3, 3, requires_grad=True), torch.rand(1, 2, 3, 3).sub(0.5).clamp_min(0)
    integral_attention_loss(scores, attention).backward()
    expected = torch.where(
        attention > 0,
        -attention * torch.sigmoid(-scores) / (attention > 0).sum(),
        torch.sigmoid(scores) / (attention == 0).sum(),
    )
    torch.testing.assert_close(scores.grad, expected.detach())


def test_divergence_is_the_textbook_one() -> None:
    """The divergence from logits equals p log(p/q) + (1-p) log((1-p)/(1-q)), is zero at p = q and never negative."""
    torch.manual_seed(0)
    first, second = torch.rand(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    expected = first * (first / second).log() + (1 - first) * ((1 - first) / (1 - second)).log()
    torch.testing.assert_close(bernoulli_divergence(torch.logit(first), torch.logit(second)), expected)
    assert (expected >= 0).all()
    torch.testing.assert_close(bernoulli_divergence(first, first), torch.zeros_like(first))
    assert torch.isfinite(bernoulli_divergence(torch.tensor([1e4, -1e4]), torch.tensor([-1e4, 1e4]))).all()
    leaves = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(bernoulli_divergence, leaves)


def _cooperative(foreground: float, background: float, mode: Literal["complementary", "literal"]) -> float:
    first, second = (_logit(value).reshape(1, 1, 1, 1) for value in (foreground, background))
    return reciprocal_losses(first, second, torch.ones(1, 1, 1, 1), cooperative=mode).cooperative.item()


def test_complementary_maps_cost_nothing() -> None:
    """The complementary divergence is 0 at (.01, .99) and at (.5, .5), and 9.0 at (.99, .99)."""
    assert _cooperative(0.01, 0.99, "complementary") == pytest.approx(0.0, abs=1e-5)
    assert _cooperative(0.5, 0.5, "complementary") == pytest.approx(0.0, abs=1e-6)
    assert _cooperative(0.99, 0.99, "complementary") == pytest.approx(9.0, abs=0.01)


def test_literal_divergence_favors_not_knowing() -> None:
    """The printed divergence is -2 H(q) - log p - log(1-p), zero at 1/2 only and large at confident complements."""
    assert _cooperative(0.5, 0.5, "literal") == pytest.approx(0.0, abs=1e-6)
    p, q = 0.8, 0.3
    entropy = -q * math.log(q) - (1 - q) * math.log(1 - q)
    assert _cooperative(p, q, "literal") == pytest.approx(-2 * entropy - math.log(p) - math.log(1 - p), rel=1e-5)
    assert _cooperative(0.99, 0.01, "literal") > 4


@pytest.mark.parametrize(("weight", "saliency"), [(0.1, 0.910), (0.5, 0.532), (1.0, 0.343)])
def test_literal_optimum_on_a_sure_pixel(weight: float, saliency: float) -> None:
    """On a pixel that is surely foreground, the printed losses' minimum is this saliency, less as the weight grows."""
    grid = torch.linspace(-8, 8, 801)
    foreground, background = torch.meshgrid(grid, grid, indexing="ij")
    cost = (
        F.softplus(-foreground)
        + F.softplus(background)
        + weight * (bernoulli_divergence(background, -foreground) + bernoulli_divergence(background, foreground))
    )
    best = int(cost.argmin())
    found = torch.sigmoid(foreground.flatten()[best]) - torch.sigmoid(background.flatten()[best])
    assert found.item() == pytest.approx(saliency, abs=0.005)


@pytest.mark.parametrize("mode", ["complementary", "literal"])
def test_ignored_pixels_teach_nothing(mode: Literal["complementary", "literal"]) -> None:
    """Whatever lies at an ignored pixel, even no number, changes neither a term nor a gradient but its own zero one."""
    torch.manual_seed(0)
    valid = torch.rand(2, 1, 4, 4) > 0.4
    target = torch.rand(2, 1, 4, 4)
    spoiled = torch.where(valid, target, math.nan)
    maps = [torch.randn(2, 1, 4, 4, requires_grad=True) for _ in range(2)]
    moved = [torch.where(valid, m.detach(), m.detach() + 5).requires_grad_() for m in maps]
    losses = reciprocal_losses(maps[0], maps[1], target, valid, cooperative=mode, weight=0.3)
    same = reciprocal_losses(moved[0], moved[1], spoiled, valid, cooperative=mode, weight=0.3)
    torch.testing.assert_close(torch.stack(losses), torch.stack(same))
    assert losses.total.item() == pytest.approx((losses.cross_entropy + 0.3 * losses.cooperative).item())
    losses.total.backward()
    same.total.backward()
    for one, other in zip(maps, moved, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
        assert one.grad is not None and (one.grad[~valid] == 0).all()


def test_nothing_valid_costs_nothing() -> None:
    """A batch without a valid pixel costs 0 with zero gradient, and logits of ten thousand stay finite."""
    for height, valid in ((1.0, False), (1e4, True), (-1e4, True)):
        foreground = torch.full((1, 1, 2, 2), height, requires_grad=True)
        losses = reciprocal_losses(foreground, foreground, torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), valid))
        losses.total.backward()
        assert foreground.grad is not None and torch.isfinite(foreground.grad).all()
        assert torch.isfinite(losses.total)
        assert valid or (losses.total.item() == 0 and not foreground.grad.any())
    with pytest.raises(ValueError, match="'complementary' or 'literal'"):
        reciprocal_losses(foreground, foreground, foreground, cooperative="other")  # type: ignore[arg-type]


def test_segmentation_loss_by_hand() -> None:
    """Outputs on two grids add up, labels being taken at the nearest center and 255 left out of the average."""
    labels = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [255, 255, 0, 0], [255, 255, 0, 0]]])
    fine, coarse = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)
    fine_log, coarse_log = fine.log_softmax(1)[0], coarse.log_softmax(1)[0]
    fine_cost = [-fine_log[labels[0, y, x], y, x] for y in range(4) for x in range(4) if labels[0, y, x] != 255]
    coarse_cost = [-coarse_log[0, 0, 0], -coarse_log[1, 0, 1], -coarse_log[0, 1, 1]]
    expected = torch.stack(fine_cost).mean() + torch.stack(coarse_cost).mean()
    torch.testing.assert_close(segmentation_loss([fine, coarse], labels), expected)


def test_all_ignored_labels_cost_nothing() -> None:
    """A batch of nothing but 255 costs 0 with zero gradient."""
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss([logits], torch.full((2, 8, 8), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()
    with pytest.raises(TypeError, match="into a list"):
        segmentation_loss(logits, torch.zeros(2, 8, 8))  # type: ignore[arg-type]


def _halves(*values: float) -> torch.Tensor:
    """(1, C, 2, 4): class maps, each with a value in its left half and the next in its right."""
    pairs = torch.tensor(values).reshape(1, -1, 2)
    return pairs.repeat_interleave(2, 2)[:, :, None].expand(-1, -1, 2, -1)  # (1, C, 2) -> (1, C, 2, 4)


def test_maps_that_say_what_saliency_says_cost_nothing() -> None:
    """A tag's map that is the salient half costs 0; the same in the other half costs 1; without a map, half of it."""
    saliency, tags = _halves(1.0, 0.0)[:, 0], torch.tensor([[1.0, 0.0]])
    costs = [
        class_saliency_loss(_halves(*tag, 0.0, 0.0), tags, saliency, overlap=0.4).item()
        for tag in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    ]
    assert costs == pytest.approx([0, 1, 0.5])


def test_a_tag_beside_what_is_salient_belongs_to_the_background() -> None:
    """A second tag's map costs nothing where nothing is salient, and is driven away from what another tag explains."""
    saliency, tags = _halves(1.0, 0.0)[:, 0], torch.tensor([[1.0, 1.0]])
    assert class_saliency_loss(_halves(1.0, 0.0, 0.0, 1.0), tags, saliency, overlap=0.4).item() == 0
    spread = _halves(0.6, 0.0, 0.2, 0.9).requires_grad_()
    class_saliency_loss(spread, tags, saliency, overlap=0.4).backward()
    assert spread.grad is not None
    assert (spread.grad[0, 0, :, :2] < 0).all() and (spread.grad[0, 1, :, 2:] == 0).all()


def test_the_best_tag_is_foreground_whatever_its_overlap() -> None:
    """Of a map that lies half on what is salient, more overlap asked for changes nothing where it is the only tag."""
    maps, saliency = _halves(0.8, 0.8, 0.1, 0.1), _halves(1.0, 0.0)[:, 0]
    tags = torch.tensor([[1.0, 0.0]])
    first, second = (class_saliency_loss(maps, tags, saliency, overlap=overlap).item() for overlap in (0.4, 0.9))
    assert first == second
