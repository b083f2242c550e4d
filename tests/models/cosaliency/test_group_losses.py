"""The losses of the group systems: planted values, ignored pixels, empty masks."""

from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from tag2mask.models.cosaliency.group_losses import (
    focal_loss,
    group_class_loss,
    group_triplet_loss,
    mask_cross_entropy,
)
from tag2mask.models.losses import iou_loss

Form = Literal["minimum", "product"]
FORMS: tuple[Form, ...] = ("minimum", "product")


@pytest.mark.parametrize("form", FORMS)
def test_iou_of_planted_masks(form: Form) -> None:
    """On hard masks both forms are 1 - intersection / union; on soft ones they are their own formulas."""
    found, wanted = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    found[..., :2], wanted[..., 1:] = 1.0, 1.0
    assert float(iou_loss(found, wanted, form=form)[0]) == pytest.approx(1 - 2 / 8, abs=1e-6)
    torch.manual_seed(0)
    p, g = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5)
    for n, loss in enumerate(iou_loss(p, g, form=form)):
        if form == "minimum":
            expected = 1 - torch.minimum(p[n], g[n]).sum() / torch.maximum(p[n], g[n]).sum()
        else:
            expected = 1 - (p[n] * g[n]).sum() / (p[n].sum() + g[n].sum() - (p[n] * g[n]).sum())
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_empty_masks_have_no_nan(form: Form) -> None:
    """Nothing found where nothing is costs 0, something found there 1, and gradients are finite."""
    found = torch.zeros(2, 1, 3, 3)
    found[1] = 0.5
    found.requires_grad_()
    loss = iou_loss(found, torch.zeros(2, 1, 3, 3), form=form)
    loss.sum().backward()
    assert found.grad is not None and torch.isfinite(found.grad).all()
    torch.testing.assert_close(loss.detach(), torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_ignored_pixels_do_not_matter(form: Form) -> None:
    """Neither values nor gradients depend on what stands at ignored pixels; with none left the entropies are 0."""
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4).round()
    valid = torch.rand(2, 1, 4, 4) > 0.4
    changed = torch.where(valid, target, 1 - target)
    for loss in (
        lambda t: iou_loss(logits.sigmoid(), t, valid, form=form).sum(),
        lambda t: mask_cross_entropy(logits, t, valid),
        lambda t: focal_loss(logits, t, valid),
    ):
        torch.testing.assert_close(loss(target), loss(changed))
    nothing = torch.zeros_like(valid)
    assert mask_cross_entropy(logits, target, nothing) == 0 and focal_loss(logits, target, nothing) == 0
    given = logits.clone().requires_grad_()
    (focal_loss(given, target, valid) + iou_loss(given.sigmoid(), target, valid, form=form).sum()).backward()
    assert given.grad is not None and given.grad[~valid].abs().sum() == 0


def test_focal_loss_by_hand() -> None:
    """The focal loss is -(1 - p)^2 log p of what the right answer is given, and without gamma the cross entropy."""
    torch.manual_seed(0)
    logits, target = torch.randn(1, 1, 3, 3), torch.rand(1, 1, 3, 3).round()
    right = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(focal_loss(logits, target), -((1 - right) ** 2 * right.log()).mean())
    plain = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(mask_cross_entropy(logits, target), plain)
    far = torch.full((1, 1, 1, 1), 1e4, requires_grad=True)
    focal_loss(far, torch.zeros(1, 1, 1, 1)).backward()
    assert far.grad is not None and torch.isfinite(far.grad).all()


def test_triplets_of_planted_groups() -> None:
    """Groups far apart cost nothing, mixed ones the margin twice; odd and single groups have no undefined triplet."""
    tight, far = torch.zeros(4, 3), torch.full((4, 3), 9.0)
    assert group_triplet_loss(tight, far) == 0
    assert float(group_triplet_loss(tight, tight.clone())) == pytest.approx(0.2, abs=1e-5)
    first, second = torch.randn(5, 3), torch.randn(3, 3)
    by_hand = 0.0
    for a, p, n in ((first[0], first[2], second[0]), (second[0], second[2], first[0])):
        by_hand += max(0.0, float((a - p + 1e-6).norm() - (a - n + 1e-6).norm()) + 0.1)
    assert float(group_triplet_loss(first, second)) == pytest.approx(by_hand, abs=1e-5)
    assert group_triplet_loss(first[:1], second) == 0


def test_classes_or_tags() -> None:
    """Integer classes take the cross entropy, a table of tags the binary one summed over the classes."""
    torch.manual_seed(0)
    logits, classes = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(group_class_loss(logits, classes), F.cross_entropy(logits, classes))
    tags = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    expected = -(tags * logits.sigmoid().log() + (1 - tags) * (1 - logits.sigmoid()).log()).sum(1).mean()
    torch.testing.assert_close(group_class_loss(logits, tags), expected)
