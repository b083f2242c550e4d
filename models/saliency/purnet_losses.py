"""What the three subnetworks of a purnet network learn from, and who gets which gradient."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.losses import masked_mean
from tag2mask.models.saliency.purnet import PurNet, PurNetPredictions
from tag2mask.models.saliency.structural_similarity import structural_similarity_loss


class PurNetLosses(NamedTuple):
    """Scalars of `purnet_losses`."""

    main: Tensor
    promotion: Tensor
    rectification: Tensor


def purnet_losses(
    predictions: PurNetPredictions,
    target: Tensor,
    valid: Tensor | None = None,
    superpixels: Tensor | None = None,
    *,
    structural_similarity: float = 1.0,
) -> PurNetLosses:
    """The losses of each subnetwork, every level added with weight 1.

    * main: cross entropy of P weighted by 1 + |E|, E the predicted error, not learned through this weight; plus
      `structural_similarity` times the loss of that name, where superpixels are given.
    * promotion: cross entropy of its own saliency.
    * rectification: cross entropy of its own saliency G^, and of (E + 1) / 2 with (G - G^ + 1) / 2; no gradient runs
      through that target, which the published code lets happen with a current torch.

    All are taken of logits: (tanh(x) + 1) / 2 = s(2x), and P is not clamped to [1e-4, 1 - 1e-4] as published, where a
    surely wrong pixel teaches nothing.

    Args:
        predictions: of `PurNet.supervise`.
        target: (N, 1, H, W) in [0, 1], the mask; any value where not valid.
        valid: (N, 1, H, W), False at pixels to leave out of every term; None keeps all.
        superpixels: (N, 1, H, W) integers, see `structural_similarity_loss`; None leaves that loss out.
        structural_similarity: its weight, 0 or more.

    Returns:
        Scalars; promotion and rectification are 0 where the predictions were made without attention.
    """
    target = target.float()
    keep = torch.ones_like(target, dtype=torch.bool) if valid is None else valid.bool()
    target = torch.where(keep, target, 0.0)
    errors = predictions.error or [torch.zeros_like(target)] * len(predictions.main)
    main = []
    for logits, error in zip(predictions.main, errors, strict=True):
        weight = 1 + error.detach().float().tanh().abs()
        main.append(masked_mean(weight * _entropy(logits, target), keep))
        if superpixels is not None and structural_similarity > 0:
            similarity = structural_similarity_loss(logits.float().sigmoid(), target, superpixels, keep)
            main.append(structural_similarity * similarity)
    promotion = [masked_mean(_entropy(logits, target), keep) for logits in predictions.promotion]
    rectification = []
    for logits, error in zip(predictions.rectification, predictions.error, strict=True):
        missed = (target - logits.float().sigmoid()).detach()
        own = _entropy(logits, target) + _entropy(2 * error, (missed + 1) / 2)
        rectification.append(masked_mean(own, keep))
    return PurNetLosses(*(_sum(terms, target) for terms in (main, promotion, rectification)))


def propagate(network: PurNet, losses: PurNetLosses) -> None:
    """Give every parameter the gradient of its own loss and no other: use this instead of `backward` on a sum.

    The main loss reaches the backbone and the main subnetwork; on its way to the backbone it passes through both
    attentions, whose subnetworks' parameters it leaves alone.  The promotion and the rectification loss reach their own
    subnetwork and not the backbone.  A single backward pass could say this only if the two subnetworks were run twice,
    on detached features and with detached weights; instead the one graph is walked twice, each time down to the
    parameters that are asked for.  The two subnetworks share no parameter and no loss, so their sum serves both.
    """
    attended = losses.promotion.requires_grad
    torch.autograd.backward(losses.main, inputs=_trainable(network.backbone, network.main), retain_graph=attended)
    if attended:
        own = _trainable(network.promotion, network.rectification)
        torch.autograd.backward(losses.promotion + losses.rectification, inputs=own)


def _trainable(*modules: nn.Module) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")


def _sum(terms: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(terms)).sum() if terms else like.new_zeros(())
