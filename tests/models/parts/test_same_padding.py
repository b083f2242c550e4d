"""Convolutions with TensorFlow's "same" padding."""

from pathlib import Path

import pytest
import torch
from timm.layers import Conv2dSame

from tag2mask.models.parts.same_padding import SamePaddedConv2d


def _layers(kernel: int, stride: int, dilation: int) -> tuple[Conv2dSame, SamePaddedConv2d]:
    """Timm's layer, and ours with its weights."""
    torch.manual_seed(0)
    theirs = Conv2dSame(2, 3, kernel, stride=stride, dilation=dilation)
    ours = SamePaddedConv2d(2, 3, kernel, stride=stride, dilation=dilation)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@torch.no_grad()
def test_it_is_timms_layer(kernel: int, stride: int, dilation: int) -> None:
    """At every size the result is timm's, bit for bit."""
    theirs, ours = _layers(kernel, stride, dilation)
    for height, width in ((9, 12), (10, 11), (13, 16), (1, 2)):
        images = torch.randn(2, 2, height, width)
        assert torch.equal(ours(images), theirs(images))


@torch.no_grad()
def test_a_graph_for_any_size_is_saved_and_read(tmp_path: Path) -> None:
    """A saved graph says what the layer says, at sizes that it was not traced with."""
    _, layer = _layers(3, 2, 1)
    sizes = ({axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)},)
    traced = torch.export.export(layer.eval(), (torch.rand(2, 2, 16, 24),), dynamic_shapes=sizes)
    torch.export.save(traced, tmp_path / "layer.pt2")
    read = torch.export.load(tmp_path / "layer.pt2").module()
    for height, width in ((16, 24), (17, 25), (31, 18)):
        images = torch.rand(3, 2, height, width)
        assert torch.equal(read(images), layer(images))
