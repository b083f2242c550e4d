"""A loss on the saliency map itself, beside those on the two maps that reciprocal attention makes it of."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.models.losses import iou_loss, masked_mean
from tag2mask.models.saliency.reciprocal_attention import Score, combined

LEAST = 1e-3
"""Saliency is brought this far from 0 and 1 before the logarithm: where the difference is cut off at 0 it has none."""


def saliency_map_loss(
    foreground_logits: Tensor,
    background_logits: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    score: Score = "difference",
) -> Tensor:
    """Binary cross entropy of the saliency map plus 1 - IoU, averaged over the images.

    The losses of claims 4 and 5 train each map for itself.  Where both are right and complementary, p and 1 - p, their
    difference is 2 p - 1: a pixel with p = .8 is salient to .6 alone.  This loss is on what is written.  Both terms are
    those of Qin et al. ("BASNet", CVPR 2019), who add a structural one.

    Args:
        foreground_logits: (N, 1, H, W).
        background_logits: (N, 1, H, W).
        target: (N, 1, H, W) in [0, 1], the mask; any value where not valid.
        valid: (N, 1, H, W), False at pixels to leave out; None keeps all.
        score: how the two maps are made one, see `combined`.

    Returns:
        A scalar, finite for any logits; 0 for a perfect map of 0 and 1 but for `LEAST`.  By `difference` a pixel whose
        background is the larger has no gradient, however salient it is: it learns from the claims' cross entropies.
    """
    saliency = combined(foreground_logits.float().sigmoid(), background_logits.float().sigmoid(), score)
    keep = torch.ones_like(saliency, dtype=torch.bool) if valid is None else valid.bool()
    wanted = torch.where(keep, target.float(), 0.0)
    entropy = F.binary_cross_entropy(saliency.clamp(LEAST, 1 - LEAST), wanted, reduction="none")
    return masked_mean(entropy, keep) + iou_loss(saliency, wanted, keep, form="product").mean()
