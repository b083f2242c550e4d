"""The segmenter and its multi-scale wrapper."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.models.losses import segmentation_loss
from tag2mask.models.segmenter import MultiScale, Segmenter
from tests.models.tiny import BACKBONE_NAMES, TinyBackbone, any_backbone, assert_gradients_reach, flip_symmetric


def _segmenter(low_level_channels: int = 0) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(TinyBackbone(), classes=4, rates=(1, 2), low_level_channels=low_level_channels, aspp_channels=8)


@torch.no_grad()
def test_pyramid_is_the_sum_of_its_branches() -> None:
    """Without a decoder the logits are the sum of one dilated convolution per rate of the deepest features."""
    model = _segmenter()
    images = torch.randn(2, 3, 64, 64)
    deepest = model.backbone(images)[-1]
    weights = [value for key, value in model.head.state_dict().items() if key.endswith("weight")]
    expected = sum(F.conv2d(deepest, weight, padding=r, dilation=r) for weight, r in zip(weights, (1, 2), strict=True))
    torch.testing.assert_close(model(images), expected, atol=1e-6, rtol=1e-4)
    assert all(abs(float(weight.std()) - 0.01) < 0.002 for weight in weights)


@pytest.mark.parametrize(("low", "grid"), [(0, (3, 4)), (6, (10, 16))])
def test_single_equals_batch_at_odd_sizes(low: int, grid: tuple[int, int]) -> None:
    """In evaluation the logits do not depend on the batch and lie on the announced grid."""
    model = _segmenter(low).eval()
    images = torch.randn(2, 3, 37, 61)
    with torch.no_grad():
        together, apart = model(images), torch.cat([model(images[:1]), model(images[1:])])
    assert together.shape == (2, 4, *grid)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("low", [0, 6])
@torch.no_grad()
def test_mirrored_image_gives_mirrored_logits(low: int) -> None:
    """With symmetric kernels, at sizes 1 more than a multiple of the stride, mirroring commutes with the model."""
    model = _segmenter(low).eval()
    flip_symmetric(model)
    images = torch.randn(1, 3, 49, 65)
    torch.testing.assert_close(model(images.flip(3)).flip(3), model(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("low", [0, 6])
def test_gradients_reach_every_parameter(low: int) -> None:
    """One step of the multi-scale loss reaches every parameter."""
    model = MultiScale(_segmenter(low))
    torch.manual_seed(1)
    segmentation_loss(model(torch.randn(2, 3, 64, 64)), torch.randint(0, 4, (2, 64, 64))).backward()
    assert_gradients_reach(model)


def test_multi_scale_takes_the_maximum() -> None:
    """Training gives each scale's logits and their maximum on the first grid, evaluation the same maximum alone."""
    model = MultiScale(_segmenter())
    images = torch.randn(2, 3, 64, 96)
    outputs = model(images)
    assert isinstance(outputs, list)
    assert [tuple(output.shape[2:]) for output in outputs] == [(4, 6), (3, 5), (2, 3), (4, 6)]
    resized = [F.interpolate(o, size=(4, 6), mode="bilinear", align_corners=False) for o in outputs[:3]]
    torch.testing.assert_close(outputs[3], torch.stack(resized).amax(0))
    maximum = model.eval()(images)
    assert isinstance(maximum, Tensor)
    torch.testing.assert_close(maximum, outputs[3])


def test_a_single_scale_enters_the_loss_once() -> None:
    """With one scale the training loss is the cross entropy of the segmenter's own logits, counted once."""
    segmenter = _segmenter()
    model = MultiScale(segmenter, scales=(1.0,))
    torch.manual_seed(1)
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 4, (2, 4, 4))
    loss = segmentation_loss(model(images), labels)
    torch.testing.assert_close(loss, F.cross_entropy(segmenter(images), labels))


@pytest.mark.parametrize("name", BACKBONE_NAMES)
@torch.no_grad()
def test_every_backbone_serves(name: str) -> None:
    """Each backbone carries both heads."""
    for low in (0, 6):
        model = Segmenter(any_backbone(name, 8), classes=3, low_level_channels=low, aspp_channels=8)
        assert model.eval()(torch.randn(1, 3, 49, 33)).shape[1] == 3


def test_wrong_settings_are_refused() -> None:
    """A segmenter without a foreground class and scales that do not begin with 1 are refused."""
    with pytest.raises(ValueError, match="2 or more"):
        Segmenter(TinyBackbone(), classes=1)
    with pytest.raises(ValueError, match=r"begin with 1.0, got \(0.5, 1.0\)"):
        MultiScale(_segmenter(), scales=(0.5, 1.0))
