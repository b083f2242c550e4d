"""Training losses, of logits (`iou_loss`: of probabilities), each finite wherever these are.

Ignored positions enter neither a sum nor a gradient; an average over nothing is 0, not NaN.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255
"""Label of pixels that teach nothing."""
SMALLEST = 1e-6
"""Added to both sides of the IoU's fraction: nothing predicted where nothing is costs 0, not NaN."""


class ReciprocalLosses(NamedTuple):
    """Scalars of `reciprocal_losses`; `total` is what to minimize."""

    total: Tensor
    cross_entropy: Tensor
    cooperative: Tensor


def tag_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Multi-label soft margin: -[y log s(p) + (1 - y) log(1 - s(p))], averaged over classes, then images.

    Args:
        logits: (N, C).
        tags: (N, C), 1 where the image has the tag, else 0.
    """
    return F.multilabel_soft_margin_loss(logits, tags.to(logits.dtype))


def class_saliency_loss(maps: Tensor, tags: Tensor, saliency: Tensor, *, overlap: float) -> Tensor:
    """Mean squared distance of saliency from what class maps say of it (EPS: Lee et al., CVPR 2021, section 3).

    The maps of the image's tags that lie on what is salient make the foreground; the others, salient objects that are
    no tag's aside, belong to the background.  The two estimates, the foreground's and what the background leaves, are
    averaged.  Unlike EPS, a map covers the cells above half of its own maximum, not of 1, and the tag whose map lies
    most on what is salient counts as foreground whatever its overlap: there is always something to learn.

    Args:
        maps: (N, C, h, w) in [0, 1], probabilities of the classes; what they lack to 1 is the background's.
        tags: (N, C), 1 where the image has the tag, else 0.
        saliency: (N, h, w) in [0, 1].
        overlap: share of a map's cells that has to be salient (above 0.5) for the map to make foreground.
    """
    maps, tags, saliency = maps.float(), tags.float(), saliency.float()
    with torch.no_grad():
        covered = (maps > maps.amax((2, 3), keepdim=True) / 2).float()
        salient = (covered * (saliency[:, None] > 0.5)).sum((2, 3)) / covered.sum((2, 3)).clamp_min(1)  # (N, C)
        share = torch.where(tags > 0, salient, -1.0)
        lies_on = ((share > overlap) | (share == share.amax(1, keepdim=True))).float() * tags
    foreground = (maps * lies_on[:, :, None, None]).sum(1)  # (N, C, h, w) -> (N, h, w)
    background = 1 - maps.sum(1) + (maps * (tags - lies_on)[:, :, None, None]).sum(1)
    return F.mse_loss((foreground + 1 - background) / 2, saliency)


def integral_attention_loss(scores: Tensor, attention: Tensor) -> Tensor:
    """Average of -t log s(x) where t > 0, plus average of log(1 + e^x) where t = 0 (NSROM, stage C).

    Both averages run over the whole batch; one over no positions counts 0.  Unlike NSROM's code, nothing saturates or
    overflows: the logarithms are taken of logits.

    Args:
        scores: x, (N, C, h, w), raw.
        attention: t, (N, C, h, w) in [0, 1]: accumulated attention, zero planes for absent classes.
    """
    scores, attention = scores.float(), attention.float()
    seen = attention > 0
    present = masked_mean(-attention * F.logsigmoid(scores), seen)
    return present + masked_mean(F.softplus(scores), ~seen)


def reciprocal_losses(
    foreground_logits: Tensor,
    background_logits: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    cooperative: Literal["complementary", "literal"] = "complementary",
    weight: float = 0.5,
) -> ReciprocalLosses:
    """Cross entropy of both maps (claim 4) plus `weight` times a cooperative divergence (claim 5) of patent 11,151,725.

    With p, q the foreground and background probabilities and KL between Bernoulli distributions:

    * "complementary": KL(q || 1-p) + KL(p || 1-q), zero where the two maps complement each other.
    * "literal": KL(q || 1-p) + KL(q || p), as the claim is printed.  Its minimum is p = q = 1/2, so it pulls towards
      "don't know": keep the weight at 0.1 or below.

    The claims give no weight, and no background target; 1 - target is ours.

    Args:
        foreground_logits: (N, 1, H, W).
        background_logits: (N, 1, H, W).
        target: (N, 1, H, W) in [0, 1], the mask; any value where not valid.
        valid: (N, 1, H, W), False at pixels to leave out of every term; None keeps all.
        cooperative: which divergence.
        weight: of the divergence, 0 or more.

    Returns:
        Scalars: total, cross_entropy (mean over the valid pixels, both maps added), cooperative (the same, unweighted).
    """
    if cooperative not in ("complementary", "literal"):
        raise ValueError(f"cooperative must be 'complementary' or 'literal', got {cooperative!r}")
    foreground, background, target = foreground_logits.float(), background_logits.float(), target.float()
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid.bool()
    target = torch.where(valid, target, 0.0)
    entropy = F.binary_cross_entropy_with_logits(foreground, target, reduction="none")
    entropy = entropy + F.binary_cross_entropy_with_logits(background, 1 - target, reduction="none")
    divergence = bernoulli_divergence(background, -foreground)  # 1 - s(x) = s(-x)
    if cooperative == "complementary":
        divergence = divergence + bernoulli_divergence(foreground, -background)
    else:
        divergence = divergence + bernoulli_divergence(background, foreground)
    entropy, divergence = masked_mean(entropy, valid), masked_mean(divergence, valid)
    return ReciprocalLosses(entropy + weight * divergence, entropy, divergence)


def bernoulli_divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(s(first) || s(second)) of two Bernoulli distributions given by logits, elementwise, in nats."""
    one = torch.sigmoid(first) * (F.logsigmoid(first) - F.logsigmoid(second))
    return one + torch.sigmoid(-first) * (F.logsigmoid(-first) - F.logsigmoid(-second))


def segmentation_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum over the outputs of a segmenter of the cross entropy, each averaged over its labeled pixels.

    Args:
        logits: of each (N, C, h, w); labels are resized to each grid by the nearest pixel's center.
        labels: (N, H, W) integers, 0 to C - 1, or 255 to ignore.

    Returns:
        A scalar; 0, with zero gradient, if every label is 255.
    """
    if isinstance(logits, Tensor):
        raise TypeError("logits must be a list of outputs: put a single one into a list")
    losses = []
    for output in logits:
        resized = F.interpolate(labels[:, None].float(), size=output.shape[2:], mode="nearest-exact")
        resized = resized[:, 0].long()  # (N, 1, h, w) -> (N, h, w)
        total = F.cross_entropy(output.float(), resized, ignore_index=IGNORE, reduction="sum")
        losses.append(total / (resized != IGNORE).sum().clamp_min(1))
    return torch.stack(losses).sum()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average of `values` where `mask`, of the same shape, is True; 0 over nothing."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def iou_loss(
    probabilities: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    form: Literal["minimum", "product"] = "minimum",
) -> Tensor:
    """1 - IoU of soft masks, image by image.

    * "minimum": sum of min(p, g) over sum of max(p, g) (ICNet).
    * "product": sum of p g over sum of p + g - p g (GCoNet+).

    Args:
        probabilities: (N, 1, H, W) in [0, 1].
        target: (N, 1, H, W) in [0, 1]; any value where not valid.
        valid: (N, 1, H, W), False at pixels to leave out; None keeps all.
        form: which intersection.

    Returns:
        (N,) in [0, 1].
    """
    found, wanted = _masked(probabilities, target, valid)
    both = torch.minimum(found, wanted) if form == "minimum" else found * wanted
    overlap = both.flatten(1).sum(1)  # (N, 1, H, W) -> (N,)
    union = (found + wanted).flatten(1).sum(1) - overlap  # max(p, g) = p + g - min(p, g)
    return 1 - (overlap + SMALLEST) / (union + SMALLEST)


def _masked(probabilities: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    found, wanted = probabilities.float(), target.float()
    if valid is None:
        return found, wanted
    keep = valid.bool()
    return torch.where(keep, found, 0.0), torch.where(keep, wanted, 0.0)
