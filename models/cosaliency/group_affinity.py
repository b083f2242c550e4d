"""What the images of a group have in common, as one vector: the group affinity of GCoNet+ (Zheng et al., 2023)."""

import math

import torch
from torch import Tensor, nn


class GroupAffinity(nn.Module):
    """Consensus of a group: a vector of channels that are strong where each image looks like all the others.

    As in the published code the consensus multiplies the channels of the features; the article's depth-wise correlation
    with a matrix is not there.

    Args:
        channels: C of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.transform = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Consensus of a group.

        The keys are taken one image at a time: a memory of N (hw)^2 numbers, where the published code needs (N hw)^2
        for the same result.  The time grows with N^2 all the same: some tens of its images stand for a large group.

        Args:
            features: (N, C, h, w) of the group's images.

        Returns:
            (1, C, 1, 1).
        """
        query, key = self.query(features).flatten(2), self.key(features).flatten(2)  # (N, C, h, w) -> (N, C, hw)
        maps = affinity_maps(query, key).view_as(features[:, :1])  # (N, hw) -> (N, 1, h, w)
        shared: Tensor = self.transform(features * maps)
        return shared.mean((0, 2, 3), keepdim=True)  # (N, C, h, w) -> (1, C, 1, 1)


def affinity_maps(query: Tensor, key: Tensor) -> Tensor:
    """Where each image resembles the images of its group.

    A position's affinity to an image is that to the image's most similar position; averaged over the images, divided by
    sqrt(C), softmax over the positions.

    Args:
        query: (N, C, L), L positions an image.
        key: (M, C, L).

    Returns:
        (N, L), each row sums to 1.
    """
    with torch.autocast(query.device.type, enabled=False):  # 8 bits of mantissa would leave few different sums
        query, key = (features.to(torch.promote_types(features.dtype, torch.float32)) for features in (query, key))
        total = torch.zeros_like(query[:, 0])  # (N, C, L) -> (N, L)
        for one in key:  # a maximum keeps its position alone for the gradient, so that no (N, L, L) is kept
            total = total + (query.mT @ one).max(2).values  # (N, L, C) @ (C, L) -> (N, L, L) -> (N, L)
        return (total / (len(key) * math.sqrt(query.shape[1]))).softmax(1)
