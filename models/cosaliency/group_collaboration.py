"""What GCoNet+ (Zheng et al., TPAMI 2023) needs in training alone; none of it is in the network that predicts.

Group collaborating, auxiliary and recurrent auxiliary classification, and the sum of the losses.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.cosaliency.gconet_plus import GCoNetPlus
from tag2mask.models.cosaliency.group_losses import (
    focal_loss,
    group_class_loss,
    group_triplet_loss,
    mask_cross_entropy,
)
from tag2mask.models.losses import iou_loss


class GroupBatch(NamedTuple):
    """Images of two groups, the first `split` of them of the first; a batch of one group has `split` = N."""

    images: Tensor
    """(N, 3, H, W), RGB in [0, 1]."""
    target: Tensor
    """(N, 1, H, W) in [0, 1]: the object that an image's own group shares."""
    valid: Tensor
    """(N, 1, H, W) bool, False at pixels that teach nothing."""
    other_target: Tensor
    """(N, 1, H, W): what the OTHER group's consensus should find; nothing, unless an image belongs to both."""
    other_valid: Tensor
    """(N, 1, H, W) bool."""
    classes: Tensor
    """(N,) integer class, or (N, C) of 0 and 1, all tags."""
    group_classes: Tensor
    """In the form of `classes`: the class of the image's group alone, which is what the recurrent pass should see."""
    split: int


class GroupWeights(NamedTuple):
    """Weights of the losses; 0 leaves one out.  The defaults but `soft` are the published code's."""

    hard: float = 120.0
    """Cross entropy of the hard map."""
    soft: float = 0.0
    """Cross entropy of the soft map, which the published losses reach through the hard one alone; see the settings."""
    iou: float = 2.0
    """1 - IoU of the hard map, summed over the images."""
    triplet: float = 12.0
    """Group-based symmetric triplet loss."""
    classify: float = 3.0
    """Auxiliary classification."""
    collaborate: float = 250.0
    """Focal loss of what each group's consensus finds in its own and in the other group's images."""
    recurrent: float = 10.0
    """Auxiliary classification of the images seen through their own map."""


class GroupCollaboration(nn.Module):
    """Group collaborating (GCM), auxiliary (ACM) and recurrent auxiliary classification (RACM).

    Args:
        channels: of the backbone's deepest side output.
        decoded_channels: of the decoder's features.
        classes: C, of the classification.
    """

    def __init__(self, channels: int, decoded_channels: int, classes: int) -> None:
        super().__init__()
        self.collaborate = nn.Sequential(
            nn.Conv2d(channels, 128, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(128, 1, 1)
        )
        self.classify = nn.Linear(channels, classes)
        self.isolate = nn.Conv2d(decoded_channels, 1, 1)

    def both_consensuses(self, features: Tensor, own: Tensor, other: Tensor, size: tuple[int, ...]) -> list[Tensor]:
        """Logits (N, 1, H, W) of what the own and the other group's consensus, (N, C, 1, 1), find in the features."""
        joined = self.collaborate(torch.cat([features * own, features * other]))
        large = F.interpolate(joined, size=size, mode="bilinear", align_corners=True)
        return list(large.chunk(2))

    def class_logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features of images, not of their consensus, to logits (N, classes)."""
        logits: Tensor = self.classify(features.mean((2, 3)))  # (N, C, h, w) -> (N, C)
        return logits

    def isolated(self, images: Tensor, decoded: Tensor, mean: Tensor) -> Tensor:
        """Images (N, 3, H, W) faded to a mean color where the decoder's features see nothing of the group.

        The backbone's mean color is what its normalization makes 0 of: the published code multiplies normalized images.
        """
        seen = torch.sigmoid(self.isolate(decoded).float())
        seen = F.interpolate(seen, size=images.shape[2:], mode="bilinear", align_corners=True)
        return mean + (images - mean) * seen


def group_losses(
    network: GCoNetPlus,
    collaboration: GroupCollaboration,
    batch: GroupBatch,
    weights: GroupWeights | None = None,
    *,
    iou_form: Literal["minimum", "product"] = "product",
) -> dict[str, Tensor]:
    """All losses of one step, unweighted, by the names of `GroupWeights`; their weighted sum is `total`.

    A batch of one group has no triplet and no collaboration loss.  Of losses of weight 0 only `hard` and `iou` are
    computed.  `soft` has no gradient where the map is wrong by a logit beyond 13.8, to which probabilities are cut.

    Unlike the published code, the hard map's cross entropy is taken of its logits, k (soft - threshold), and not of its
    probabilities: these are exactly 0 or 1 about 0.1 from the threshold, where a wrong pixel would have no gradient.
    And it is divided by k: undivided, any wrong pixel pulls soft - threshold with a gradient of k = 300, which drowns
    all other losses; divided, with one of at most 1, whatever k is.
    """
    weights = weights or GroupWeights()
    images, size = batch.images, batch.images.shape[2:]
    sides = network.encode(images)
    deepest, pair = sides[-1], batch.split < len(images)
    own, other = _consensuses(network, deepest, batch.split)
    decoded = network.decode(sides, own, size)
    maps = decoded.maps
    losses = {
        "hard": mask_cross_entropy(maps.logits, batch.target, batch.valid) / network.enhance.sharpness,
        "iou": iou_loss(maps.hard, batch.target, batch.valid, form=iou_form).sum(),
    }
    if weights.soft:
        losses["soft"] = mask_cross_entropy(torch.logit(maps.soft, eps=1e-6), batch.target, batch.valid)
    if weights.classify:
        losses["classify"] = group_class_loss(collaboration.class_logits(deepest), batch.classes)
    if weights.recurrent:
        again = network.encode(collaboration.isolated(images, decoded.features, network.backbone.mean))[-1]
        losses["recurrent"] = group_class_loss(collaboration.class_logits(again), batch.group_classes)
    if weights.triplet and pair:
        pooled = deepest.float().mean((2, 3))  # (N, C, h, w) -> (N, C)
        losses["triplet"] = group_triplet_loss(pooled[: batch.split], pooled[batch.split :])
    if weights.collaborate and pair:
        logits = torch.cat(collaboration.both_consensuses(deepest, own, other, size))
        target = torch.cat([batch.target, batch.other_target])
        losses["collaborate"] = focal_loss(logits, target, torch.cat([batch.valid, batch.other_valid]))
    total = torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
    return {**losses, "total": total}


def _consensuses(network: GCoNetPlus, deepest: Tensor, split: int) -> tuple[Tensor, Tensor]:
    """(N, C, 1, 1) of each image's own group, and of the other one (its own, where there is no other)."""
    groups = [part for part in (deepest[:split], deepest[split:]) if len(part)]
    found = [network.consensus([part])[0] for part in groups]
    own = torch.cat([one.expand(len(part), -1, -1, -1) for one, part in zip(found, groups, strict=True)])
    crossed = zip(reversed(found), groups, strict=True)
    return own, torch.cat([one.expand(len(part), -1, -1, -1) for one, part in crossed])
