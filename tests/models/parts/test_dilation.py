"""Laws of the convolution by phases."""

import pytest
import torch
from torch import nn

from tag2mask.models.parts.dilation import PhaseConv2d, batch_to_space, space_to_batch


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dilation", "groups", "kernel", "size"),
    [
        (2, 6, 3, (8, 8)),
        (2, 6, 3, (7, 9)),
        (4, 6, 3, (13, 6)),
        (3, 1, 5, (5, 1)),
        (4, 2, 3, (2, 3)),
        (1, 6, 3, (5, 5)),
    ],
)
def test_phases_equal_dilation(
    dilation: int, groups: int, kernel: int, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    """Output and every gradient equal those of the dilated convolution, at sizes that the dilation does not divide."""
    torch.manual_seed(0)
    phase = PhaseConv2d(6, 6, kernel, dilation=dilation, groups=groups)
    plain = nn.Conv2d(6, 6, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=groups)
    plain.load_state_dict(phase.state_dict())
    images = torch.randn(2, 6, *size).to(memory_format=memory_format)
    weights = torch.randn(2, 6, *size)
    results = []
    for convolution in (phase, plain):
        leaf = images.clone().requires_grad_()
        output = convolution(leaf)
        (output * weights).sum().backward()
        assert convolution.bias is not None
        results.append((output, leaf.grad, convolution.weight.grad, convolution.bias.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_channels_last_stays() -> None:
    """An input in channels-last layout gives an output in channels-last layout."""
    images = torch.randn(2, 8, 7, 9).to(memory_format=torch.channels_last)
    output = PhaseConv2d(8, 8, 3, dilation=2, groups=8)(images)
    assert output.permute(0, 2, 3, 1)[:, :6, :8].stride(-1) == 1
    even = PhaseConv2d(8, 8, 3, dilation=2, groups=8)(torch.randn(2, 8, 6, 8).to(memory_format=torch.channels_last))
    assert even.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_space_to_batch_places(memory_format: torch.memory_format) -> None:
    """Phase (i, j) is the grid that starts at (i, j) and strides by the dilation, and the way back restores all."""
    images = torch.arange(2 * 3 * 6 * 9.0).reshape(2, 3, 6, 9).to(memory_format=memory_format)
    phases = space_to_batch(images, 3)
    for row in range(3):
        for column in range(3):
            block = row * 3 + column
            assert torch.equal(phases[2 * block : 2 * block + 2], images[:, :, row::3, column::3])
    assert torch.equal(batch_to_space(phases, 3), images)


def test_impossible_phases_are_refused() -> None:
    """Even kernels, indivisible grids and padding other than zeros are refused with the reason."""
    with pytest.raises(ValueError, match="use an odd one"):
        PhaseConv2d(3, 3, 2)
    with pytest.raises(ValueError, match="multiples of 2, got 5x4"):
        space_to_batch(torch.zeros(1, 1, 5, 4), 2)
    with pytest.raises(ValueError, match="zero padding"):
        PhaseConv2d.from_convolution(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), dilation=2)
