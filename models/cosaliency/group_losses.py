"""Losses of the group systems, with pixels to leave out; finite wherever their input is.

Ignored positions enter neither a sum nor a gradient; an average over nothing is 0, not NaN.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_cross_entropy(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Binary cross entropy averaged over the valid pixels of all images; arguments as in `focal_loss`, a scalar."""
    return focal_loss(logits, target, valid, gamma=0.0)


def focal_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None, *, gamma: float = 2.0) -> Tensor:
    """Binary cross entropy times (1 - p_t) ** gamma, p_t being what the right answer is given (Lin et al., 2017).

    Args:
        logits: (N, 1, H, W).
        target: (N, 1, H, W) in [0, 1]; any value where not valid.
        valid: (N, 1, H, W), False at pixels to leave out; None keeps all.
        gamma: 0 is the plain cross entropy.

    Returns:
        A scalar, the mean over the valid pixels.
    """
    logits = logits.float()
    keep = torch.ones_like(logits, dtype=torch.bool) if valid is None else valid.bool()
    wanted = torch.where(keep, target.float(), 0.0)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if gamma:
        right = torch.sigmoid(logits) * wanted + torch.sigmoid(-logits) * (1 - wanted)
        loss = loss * (1 - right).clamp_min(0) ** gamma
    return torch.where(keep, loss, 0.0).sum() / keep.sum().clamp_min(1)


def group_triplet_loss(first: Tensor, second: Tensor, *, margin: float = 0.1) -> Tensor:
    """Group-based symmetric triplet loss (GCoNet+): images of a group are nearer to each other than to another group's.

    Of each group the first and the last half are anchors and positives, the other group's first half the negatives.
    The middle image of an odd group takes no part.  Features are not brought to one length, as in the published code.

    Args:
        first: (n, C) features of one group's images.
        second: (m, C) of another's; the larger group's images beyond the smaller one's size take no part.
        margin: by how much nearer.

    Returns:
        A scalar; 0 where a group has fewer than two images.
    """
    size = min(len(first), len(second))
    half = size // 2
    if not half:
        return first.new_zeros(())
    first, second = first[:size], second[:size]
    one = F.triplet_margin_loss(first[:half], first[-half:], second[:half], margin=margin)
    return one + F.triplet_margin_loss(second[:half], second[-half:], first[:half], margin=margin)


def group_class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Auxiliary classification of a group's images, averaged over them.

    Args:
        logits: (N, C).
        classes: (N,) integer class of each image, for the cross entropy (the published form); or (N, C) of 0 and 1,
            all its tags, for the binary cross entropy summed over the classes.

    Returns:
        A scalar.
    """
    if classes.ndim == 1:
        return F.cross_entropy(logits.float(), classes.long())
    entropy = F.binary_cross_entropy_with_logits(logits.float(), classes.float(), reduction="none")
    return entropy.sum(1).mean()
