"""What the saliency networks are built of."""

from torch import Tensor, nn
from torch.nn import functional as F


def convolution_block(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch norm, PReLU; (N, channels, h, w) -> (N, width, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.PReLU()
    )


def resize_bilinear(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize `maps` (N, C, h, w) to `size` = (height, width)."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
