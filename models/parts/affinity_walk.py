"""A random walk over cells whose features look alike, which spreads class maps from parts of objects over the whole."""

from torch import Tensor
from torch.nn import functional as F

SMALLEST = 1e-6
"""Added to sums and lengths that may be 0."""


def spread_by_affinity(maps: Tensor, features: Tensor, *, power: float, steps: int, share: float) -> Tensor:
    """Average class maps with what a random walk makes of them.

    A step from cell i to cell j has the probability relu(cos(f_i, f_j))^power over its sum in j: the transitions of the
    pixel correlation module of SEAM (Wang et al., CVPR 2020; there with power 1 and learned features).

    Args:
        maps: (N, C, H, W), 0 or more.
        features: (N, D, h, w) of the same images, on a grid no finer than that of the maps.
        power: exponent of the cosine.
        steps: of the walk, 1 or more.
        share: in [0, 1], of the spread map in the average.

    Returns:
        (N, C, H, W) in [0, 1]: each map's maximum counts as 1, and of the spread one its minimum as 0, too.  A map that
        is 0 stays 0.
    """
    grid = features.shape[2:]
    unit = features.flatten(2)  # (N, D, h, w) -> (N, D, h*w)
    unit = unit / (unit.norm(dim=1, keepdim=True) + SMALLEST)
    affinity = (unit.transpose(1, 2) @ unit).relu() ** power + SMALLEST  # (N, h*w, h*w)
    transitions = affinity / affinity.sum(2, keepdim=True)
    spread = F.interpolate(maps, size=grid, mode="area").flatten(2)  # (N, C, H, W) -> (N, C, h*w)
    for _ in range(steps):
        spread = spread @ transitions.transpose(1, 2)
    spread = spread - spread.amin(2, keepdim=True)
    whole = spread.reshape(*spread.shape[:2], *grid)  # (N, C, h*w) -> (N, C, h, w)
    finest = F.interpolate(whole, size=maps.shape[2:], mode="bilinear", align_corners=False)
    return (1 - share) * _to_one(maps) + share * _to_one(finest)


def _to_one(maps: Tensor) -> Tensor:
    """(N, C, H, W), each map divided by its maximum."""
    return maps / (maps.amax((2, 3), keepdim=True) + SMALLEST)
