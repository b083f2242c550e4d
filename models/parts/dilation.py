"""A dilated convolution computed as plain convolutions on interleaved grids.

A convolution of dilation d and stride 1 never mixes positions whose coordinates differ modulo d.  The grid therefore
falls into d * d independent phases, each of which sees a plain convolution.  CPU kernels for depthwise convolutions are
fast only in the plain form, so moving the phases to the batch axis pays for the two copies.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PhaseConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and "same" zero padding; same parameters, same result, other order of computation.

    On CPU the dilation is carried out by phases; on other devices, whose kernels do not suffer, and in an exported
    graph, which may run on any, as usual.

    (N, C, H, W) -> (N, O, H, W), any H and W; the memory format (contiguous or channels last) is kept.

    Raises:
        ValueError: for a stride, unequal dilations, another padding than "same" zero padding, or an even kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} has no middle: use an odd one")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    @classmethod
    def from_convolution(cls, convolution: nn.Conv2d, *, dilation: int) -> "PhaseConv2d":
        """Take over the parameters of `convolution` (its stride is removed, its padding becomes "same")."""
        height, width = convolution.kernel_size
        if height != width or convolution.padding_mode != "zeros":
            raise ValueError(f"only square kernels with zero padding can be split into phases, not {convolution}")
        made = cls(
            convolution.in_channels,
            convolution.out_channels,
            height,
            dilation=dilation,
            groups=convolution.groups,
            bias=convolution.bias is not None,
        )
        made.weight, made.bias = convolution.weight, convolution.bias
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input` (N, C, H, W) to (N, O, H, W)."""
        dilation = self.dilation[0]
        if dilation == 1 or input.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(input)
        height, width = input.shape[-2:]
        # Zeros added behind the last row and column are what the convolution's own padding would have read there.
        padded = F.pad(input, (0, -width % dilation, 0, -height % dilation))
        phases = space_to_batch(padded, dilation)
        phases = F.conv2d(phases, self.weight, self.bias, padding=self.kernel_size[0] // 2, groups=self.groups)
        return batch_to_space(phases, dilation)[..., :height, :width]


def space_to_batch(images: Tensor, dilation: int) -> Tensor:
    """Move the `dilation`^2 interleaved grids of `images` (N, C, h*d, w*d) to the batch axis: (d*d*N, C, h, w).

    Phase (i, j) holds the positions (i + d*a, j + d*b) and comes as the i*d + j-th block of N images.
    """
    count, channels, height, width = images.shape
    if height % dilation or width % dilation:
        raise ValueError(f"height and width must be multiples of {dilation}, got {height}x{width}")
    h, w = height // dilation, width // dilation
    if images.is_contiguous(memory_format=torch.channels_last):
        grid = images.permute(0, 2, 3, 1).reshape(count, h, dilation, w, dilation, channels)
        grid = grid.permute(2, 4, 0, 1, 3, 5).reshape(-1, h, w, channels)  # (N, h, d, w, d, C) -> (d*d*N, h, w, C)
        return grid.permute(0, 3, 1, 2)
    grid = images.reshape(count, channels, h, dilation, w, dilation)
    return grid.permute(3, 5, 0, 1, 2, 4).reshape(-1, channels, h, w)  # (N, C, h, d, w, d) -> (d*d*N, C, h, w)


def batch_to_space(phases: Tensor, dilation: int) -> Tensor:
    """Undo `space_to_batch`: (d*d*N, C, h, w) -> (N, C, h*d, w*d)."""
    blocks, channels, h, w = phases.shape
    count = blocks // dilation**2
    if phases.is_contiguous(memory_format=torch.channels_last):
        grid = phases.permute(0, 2, 3, 1).reshape(dilation, dilation, count, h, w, channels)
        grid = grid.permute(2, 3, 0, 4, 1, 5)  # (d, d, N, h, w, C) -> (N, h, d, w, d, C)
        return grid.reshape(count, h * dilation, w * dilation, channels).permute(0, 3, 1, 2)
    grid = phases.reshape(dilation, dilation, count, channels, h, w)
    grid = grid.permute(2, 3, 4, 0, 5, 1)  # (d, d, N, C, h, w) -> (N, C, h, d, w, d)
    return grid.reshape(count, channels, h * dilation, w * dilation)
