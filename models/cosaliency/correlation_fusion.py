"""How the images of a group exchange what they share: the parts of ICNet (Jin et al., NeurIPS 2020).

Written so that an image needs nothing of the others but one vector each: a group of any size is processed image by
image, with the same result as all at once.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLAT = 1e-6
"""A map whose values differ by less is flat; stretching it to [0, 1] would make objects of rounding errors."""


def image_vectors(features: Tensor, saliency: Tensor) -> Tensor:
    """Normalized masked average pooling (equation 1): the mean feature of what is salient, of length one.

    Args:
        features: (N, C, h, w), of length one at every position.
        saliency: (N, 1, h, w) in [0, 1].

    Returns:
        (N, C); zero where nothing is salient.
    """
    return F.normalize((features * saliency).mean((2, 3)), dim=1)  # (N, C, h, w) -> (N, C)


def group_attention(features: Tensor, vectors: Tensor) -> Tensor:
    """Correlation fusion (equation 2): where each image looks like what is salient in the images of its group.

    Each vector gives a correlation map; a map counts the more, the more it agrees with the others.  The agreement's
    row sums need the sum of all maps alone, so that nothing of size M x M is built.

    Args:
        features: (N, C, h, w), of length one at every position.
        vectors: (M, C) of the group's images, by `image_vectors`; the N images may be among the M or not.

    Returns:
        (N, 1, h, w), each map stretched to [0, 1].  Unlike the published code, a flat map becomes 0, see `FLAT`.

    Raises:
        ValueError: no vector at all.
    """
    if not len(vectors):
        raise ValueError("a group needs at least one image")
    with torch.autocast(features.device.type, enabled=False):  # 8 bits of mantissa would leave few different values
        precision = torch.promote_types(features.dtype, torch.float32)
        flat_features, vectors = features.to(precision).flatten(2), vectors.to(precision)
        maps = F.normalize(vectors @ flat_features, dim=2)  # (M, C) @ (N, C, hw) -> (N, M, hw)
        weights = (maps @ maps.sum(1)[..., None]).softmax(1)  # (N, M, hw) @ (N, hw, 1) -> (N, M, 1)
        fused = (weights * maps).sum(1)  # (N, M, hw) -> (N, hw)
    low, high = fused.amin(1, keepdim=True), fused.amax(1, keepdim=True)
    flat = high - low < FLAT
    stretched = (fused - low) / torch.where(flat, 1.0, high - low)
    return torch.where(flat, 0.0, stretched).view_as(features[:, :1])  # (N, hw) -> (N, 1, h, w)


class Residual(nn.Module):
    """ReLU(x + convolution(ReLU(batch norm(convolution(x))))), kernels of 3, on a grid that stays."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape."""
        return F.relu(features + self.path(features))


class RearrangedCorrelation(nn.Module):
    """Self-correlation of an image, its channels ordered by the group's attention (RSCF).

    Channel k compares every position with the one that has the k-th largest attention, so that a channel means the same
    in every image.

    Args:
        grid: side g of the grid on which positions are compared; there are g * g channels.
        channels: of the result.
    """

    def __init__(self, grid: int, channels: int) -> None:
        super().__init__()
        self.grid = grid
        self.reduce = nn.Conv2d(grid * grid, channels, 1)
        self.refine = Residual(channels)

    def forward(self, features: Tensor, attention: Tensor) -> Tensor:
        """Features (N, C, h, w) of length one and attention (N, 1, h, w) to (N, channels, g, g).

        Both are averaged onto the grid first, which lets the images have any size.  At the published size of 224 pixels
        the grids are those of the features and nothing is averaged; a finer one repeats cells, and averages where
        they do not divide.
        """
        side = (self.grid, self.grid)
        flat = F.adaptive_avg_pool2d(features, side).flatten(2)  # (N, C, h, w) -> (N, C, gg)
        attention = F.adaptive_avg_pool2d(attention, side)
        correlation = flat.mT @ flat  # (N, gg, C) @ (N, C, gg) -> (N, gg, gg)
        order = attention.flatten(1).argsort(dim=1, descending=True, stable=True)  # (N, gg)
        ordered = correlation.gather(1, order[:, :, None].expand_as(correlation))
        planes = ordered.view(*ordered.shape[:2], *side)  # (N, gg, gg) -> (N, gg, g, g)
        maps: Tensor = self.refine(self.reduce(planes * attention))
        return maps


class CosalientFeatures(nn.Module):
    """Features of what the group shares at one level of the pyramid, from a foreground and a background path.

    The background path, in the published code but not in the article, takes 1 - saliency; both share their weights.

    Args:
        grid: see `RearrangedCorrelation`.
        channels: of the result.
    """

    def __init__(self, grid: int, channels: int) -> None:
        super().__init__()
        self.correlate = RearrangedCorrelation(grid, channels)
        self.merge = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), Residual(channels))

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Images' features (N, C, h, w) of length one and the group's vectors (M, 2, C) to (N, channels, g, g)."""
        paths = [self.correlate(features, group_attention(features, vectors[:, side])) for side in (0, 1)]
        merged: Tensor = self.merge(torch.cat(paths, 1))
        return merged


def both_vectors(features: Tensor, saliency: Tensor) -> Tensor:
    """Vectors of foreground and background of each image.

    Args:
        features: (N, C, h, w), of length one at every position.
        saliency: (N, 1, H, W) in [0, 1], at any size.

    Returns:
        (N, 2, C), foreground first.
    """
    small = F.interpolate(saliency, size=features.shape[2:], mode="bilinear", align_corners=True)
    return torch.stack([image_vectors(features, small), image_vectors(features, 1 - small)], 1)
