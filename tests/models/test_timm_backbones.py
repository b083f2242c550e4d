"""timm's encoders as backbones: what they give, what is refused, and the laws of the removed stride."""

import functools

import pytest
import timm
import torch
from torch import Tensor, nn

from tag2mask.models.parts.batch_norm import fold_batch_norm, freeze_batch_norm
from tag2mask.models.parts.dilation import PhaseConv2d
from tag2mask.models.timm_backbones import TimmBackbone, build_timm_backbone, check_timm_backbone

LITE = "tf_efficientnet_lite0"
FAMILIES = (
    LITE,
    "mobilenetv3_small_050",
    "resnet10t",
    "resnetv2_18",
    "regnetx_002",
    "repvgg_a0",
    "cspresnext50",
    "densenet121",
    "convnext_atto",
    "hgnetv2_b0",
    "fbnetc_100",
    "ghostnet_050",
)
"""One encoder of each kind of block."""


def lively(network: nn.Module) -> nn.Module:
    """Give every batch norm statistics and factors that are not those of a new one."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            nn.init.normal_(layer.running_mean, std=0.1, generator=generator)
            nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, std=0.1, generator=generator)
    return network


@functools.cache
def _built(name: str, stride: int) -> TimmBackbone:
    torch.manual_seed(0)
    backbone = build_timm_backbone(name, output_stride=stride)
    lively(backbone)
    return backbone.double().eval()


def _images(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_sides_are_as_announced(name: str) -> None:
    """Channels, strides and grids of all side outputs are what the attributes say, at odd sizes too."""
    backbone = _built(name, 32)
    for height, width in ((64, 96), (65, 97)):
        sides = backbone(_images(height, width))
        assert tuple(side.shape[1] for side in sides) == backbone.channels
        assert backbone.strides == (4, 8, 16, 32)
        for side, stride in zip(sides, backbone.strides, strict=True):
            assert abs(side.shape[2] - height / stride) < 1 and abs(side.shape[3] - width / stride) < 1


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_deepest_side_is_what_the_classifier_pools(name: str) -> None:
    """The deepest output equals timm's own features of the normalized image."""
    backbone = _built(name, 32)
    images = _images(64, 96)
    normalized = (images - backbone.mean) / backbone.deviation
    torch.testing.assert_close(backbone(images)[-1], backbone.network.forward_features(normalized))


@pytest.mark.parametrize("name", [*FAMILIES, "repvit_m0_9", "xception41p"])  # the last two: norms registered elsewhere
@torch.no_grad()
def test_freezing_and_folding_change_nothing(name: str) -> None:
    """Frozen batch norms in training mode, and folded ones, give the features of the plain network in evaluation."""
    torch.manual_seed(0)
    backbone = build_timm_backbone(name, output_stride=32)
    lively(backbone).double().eval()
    images = _images(64, 96)
    keys, plain = list(backbone.state_dict()), backbone(images)
    freeze_batch_norm(backbone)
    assert list(backbone.state_dict()) == keys
    frozen = backbone.train()(images)
    fold_batch_norm(backbone.eval())
    for one, two, three in zip(plain, frozen, backbone(images), strict=True):
        torch.testing.assert_close(two, one)
        torch.testing.assert_close(three, one)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97)])
@pytest.mark.parametrize("stride", [8, 16])
@torch.no_grad()
def test_removed_stride_keeps_the_strided_positions(stride: int, height: int, width: int) -> None:
    """EfficientNet-Lite0 has the strided network's values where that has a position."""
    images = _images(height, width)
    strided, dense = _built(LITE, 32)(images)[-1], _built(LITE, stride)(images)[-1]
    step = 32 // stride
    # "Same" padding puts a strided position between two pixels of an even grid onto the later one.
    first = step - 1 if height % 2 == 0 else 0
    torch.testing.assert_close(dense[:, :, first::step, first::step], strided)


def test_dilated_depthwise_convolutions_are_computed_by_phases() -> None:
    """At stride 8 every dilated convolution of EfficientNet-Lite0 is, and gives what timm's own gives."""
    backbone = _built(LITE, 8)
    dilated = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1)]
    assert {layer.dilation[0] for layer in dilated} == {2, 4}
    assert all(isinstance(layer, PhaseConv2d) for layer in dilated)
    plain = timm.create_model(LITE, num_classes=0, output_stride=8).double().eval()
    plain.load_state_dict(backbone.network.state_dict())
    images = _images(67, 64)
    expected = plain.forward_features((images - backbone.mean) / backbone.deviation)
    torch.testing.assert_close(backbone(images)[-1], expected)


@torch.no_grad()
def test_channels_last_stays() -> None:
    """Images in channels-last layout are normalized to that layout."""
    images = torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)
    backbone = build_timm_backbone(LITE, output_stride=32)
    normalized = (images - backbone.mean) / backbone.deviation
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_input_scale_is_the_encoder_s() -> None:
    """The Lites take 127 off and divide by 128, others do as timm says; neither enters the state dict."""
    lite, other = _built(LITE, 32), _built("resnet10t", 32)
    gray = torch.full((1, 3, 32, 32), 127 / 255, dtype=torch.float64)
    torch.testing.assert_close(lite(gray), lite.extract(torch.zeros_like(gray)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lite(gray + 128 / 255), lite.extract(torch.ones_like(gray)), atol=1e-5, rtol=1e-4)
    assert other.mean.flatten().tolist() == pytest.approx(timm.get_pretrained_cfg("resnet10t").mean)
    assert not {key for key in lite.state_dict() if not key.startswith("network.")}


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("tf_eficientnet_lite0", 16, "unknown backbone .*the nearest are .*tf_efficientnet_lite0"),
        ("resnet18.no_such_tag", 16, "resnet18.no_such_tag cannot be a backbone: .*tag"),
        ("densenet121", 16, "densenet121 cannot have output_stride 16 in timm: choose 32"),
        ("ghostnet_050", 8, "ghostnet_050 cannot have output_stride 8 in timm: choose 32"),
        ("vit_tiny_patch16_224", 32, "its features have strides 16, and 4, 8, 16, 32 are needed"),
        ("convmixer_768_32", 32, "its features have strides 7, and 4, 8, 16, 32 are needed"),
        ("gcvit_xxtiny", 32, "gcvit_xxtiny cannot be a backbone: it does not take images of any size"),
        ("sam2_hiera_tiny", 32, "its features are not grids of 32 pixels a cell"),
    ],
)
def test_what_cannot_serve_is_refused(name: str, stride: int, message: str) -> None:
    """An unknown name or tag, an impossible stride, and what gives no grids are refused with the reason."""
    with pytest.raises(ValueError, match=message):
        check_timm_backbone(name, stride)
