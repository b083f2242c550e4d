"""Convolutions with TensorFlow's "same" padding, which depends on the size of the image."""

from torch import Tensor, nn
from torch.nn import functional as F


class SamePaddedConv2d(nn.Conv2d):
    """`nn.Conv2d` whose input is padded so that the output has ceil(side / stride) cells, more behind than before.

    The padding is counted in integers, so that a graph for images of any size can be saved; timm's own layer divides,
    which torch cannot save.  Parameters, arguments and results are those of timm's; `padding` is not read.

    (N, C, H, W) -> (N, O, ceil(H / stride), ceil(W / stride)).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input` (N, C, H, W)."""
        height, width = (self._padding_of(axis, input.shape[2 + axis]) for axis in (0, 1))
        padded = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)

    def _padding_of(self, axis: int, length: int) -> int:
        """Cells that an axis of a length lacks."""
        stride = self.stride[axis]
        covered = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        return max((length + stride - 1) // stride * stride - stride + covered - length, 0)
