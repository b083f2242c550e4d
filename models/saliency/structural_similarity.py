"""The structural similarity loss: do regions stand to each other in the prediction as they do in the mask?"""

import torch
from torch import Tensor

SMALLEST = 1e-12
"""A predicted relation is taken to be at least this: a hard inverted pair would otherwise cost infinity."""


def structural_similarity_loss(
    probabilities: Tensor, target: Tensor, superpixels: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Divergence of the relations between the superpixels of a prediction from those of its mask (PurNet's L_SS).

    With m_i the mean of superpixel i, and S superpixels, R_ij = (m_i - m_j + 1) / S^2 sums to 1 over all pairs; the
    loss is sum_ij R^G_ij log(R^G_ij / R^P_ij), averaged over the images.  The published code applies a sigmoid to the
    probabilities once more, after which a perfect prediction costs more than nothing; here it does not.

    Args:
        probabilities: (N, 1, H, W) in [0, 1].
        target: (N, 1, H, W) in [0, 1], the mask; any value where not valid.
        superpixels: (N, 1, H, W) integers, 0 or more; the numbers need not be without gaps.
        valid: (N, 1, H, W), False at pixels to leave out; a superpixel without a valid pixel does not count.

    Returns:
        A scalar, 0 or more; images without a valid pixel are left out of the average, which is 0 over nothing.
    """
    count = len(probabilities)
    keep = torch.ones_like(target, dtype=torch.bool) if valid is None else valid.bool()
    regions = int(superpixels.max()) + 1
    offsets = regions * torch.arange(count, device=superpixels.device).view(-1, 1, 1, 1)
    place = (superpixels.long() + offsets).flatten()  # (N, 1, H, W) -> (NHW,), numbers unique in the batch

    def totals(values: Tensor) -> Tensor:
        inside = torch.where(keep, values.float(), 0.0).flatten()
        return inside.new_zeros(count * regions).index_add(0, place, inside).view(count, regions)

    area = totals(torch.ones_like(target))
    there = area > 0
    number = there.sum(1).clamp_min(1)
    given, predicted = (_relations(totals(values) / area.clamp_min(1), number) for values in (target, probabilities))
    divergence = torch.xlogy(given, given) - given * predicted.clamp_min(SMALLEST).log()
    pairs = there[:, :, None] & there[:, None, :]
    return torch.where(pairs, divergence, 0.0).sum() / there.any(1).sum().clamp_min(1)


def _relations(means: Tensor, number: Tensor) -> Tensor:
    """R (N, S, S) of region means (N, S), of which `number` (N,) are there."""
    return (means[:, :, None] - means[:, None, :] + 1) / (number**2)[:, None, None]
