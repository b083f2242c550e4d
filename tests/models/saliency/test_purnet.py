"""The purnet network against a slow version of its equations, and its laws."""

import pytest
import torch
from torch import Tensor, nn

from tag2mask.models.saliency.purnet import PurNet, promotion_attention
from tests.models.tiny import BACKBONE_NAMES, TinyBackbone, any_backbone, flip_symmetric


def _network(**settings: bool) -> PurNet:
    """A network whose batch norms have statistics that matter."""
    torch.manual_seed(0)
    network = PurNet(TinyBackbone(), channels=8, **settings)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.3, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    return network.eval()


def _convolved(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """A stride 1 convolution of (C, h, w), one kernel position at a time."""
    height, width = maps.shape[1:]
    reach = layer.kernel_size[0] // 2
    padded = torch.zeros(len(maps), height + 2 * reach, width + 2 * reach)
    padded[:, reach : reach + height, reach : reach + width] = maps
    result = torch.zeros(layer.out_channels, height, width)
    for y in range(layer.kernel_size[0]):
        for x in range(layer.kernel_size[1]):
            part = padded[:, y : y + height, x : x + width]
            result += torch.einsum("oc,chw->ohw", layer.weight[:, :, y, x], part)
    return result if layer.bias is None else result + layer.bias[:, None, None]


def _passed(layers: nn.Module, maps: Tensor) -> Tensor:
    """Convolutions, batch norms and PReLUs in the order in which they are registered."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            maps = _convolved(layer, maps)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            factor = layer.weight / (layer.running_var + layer.eps) ** 0.5
            maps = (maps - layer.running_mean[:, None, None]) * factor[:, None, None] + layer.bias[:, None, None]
        elif isinstance(layer, nn.PReLU):
            maps = torch.where(maps > 0, maps, layer.weight * maps)
    return maps


def _weights(old: int, new: int) -> Tensor:
    """(new, old) of linear interpolation between cell centers, the borders repeated."""
    weights = torch.zeros(new, old)
    for i in range(new):
        place = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        low = int(place)
        weights[i, low] += 1 - (place - low)
        weights[i, min(low + 1, old - 1)] += place - low
    return weights


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = _weights(maps.shape[1], size[0]), _weights(maps.shape[2], size[1])
    return torch.einsum("yh,chw,xw->cyx", rows, maps, columns)


def _slow_pyramid(pyramid: nn.Module, sides: list[Tensor]) -> list[Tensor]:
    laterals, descents = pyramid.laterals, pyramid.descents
    assert isinstance(laterals, nn.ModuleList) and isinstance(descents, nn.ModuleList)
    levels = {len(sides): _passed(laterals[-1], sides[-1])}
    for k in range(len(sides) - 1, 0, -1):
        lateral = _passed(laterals[k - 1], sides[k - 1])
        coming = _passed(descents[k - 1], levels[k + 1])
        levels[k] = lateral + _enlarged(coming, (lateral.shape[1], lateral.shape[2]))
    return [levels[k] for k in sorted(levels)]


def _slow_promotion(features: Tensor, *, rescale: bool) -> Tensor:
    """A_P of (C, h, w), entry by entry over the channels."""
    means = [float(plane.sum()) / plane.numel() for plane in features]
    powers = torch.tensor(means).exp()
    planes = []
    for plane, power in zip(features, powers, strict=True):
        spatial = plane.exp() / plane.exp().sum()
        planes.append(spatial * power / powers.sum() * (features.numel() if rescale else 1))
    return torch.stack(planes)


def _slow(network: PurNet, image: Tensor, *, attention: bool = True) -> list[list[Tensor]]:
    """All predictions (1, H, W) of one image (3, H, W), level by level."""
    sides = [side[0] for side in network.backbone(image[None])]
    main, promotion, rectification = network.main, network.promotion, network.rectification
    features, promoting, rectifying = (_slow_pyramid(n.pyramid, sides) for n in (main, promotion, rectification))
    found: list[list[Tensor]] = [[], [], [], []]
    size = (image.shape[1], image.shape[2])
    for k, f in enumerate(features):
        a_p = _slow_promotion(promoting[k], rescale=promotion.rescale)
        g = _passed(rectification.generals[k], rectifying[k])
        e = _passed(rectification.particulars[k], rectifying[k]) - g
        a_r = 1 - 2 / ((2 * e).exp() + 1)
        if not attention:
            a_p, a_r = torch.zeros_like(a_p), torch.zeros_like(a_r)
        branch = main.branches[k]
        assert isinstance(branch.purify, nn.Module) and isinstance(branch.head, nn.Module)
        p = _passed(branch.purify, f * a_p + f)
        found[0].append(_enlarged(_passed(branch.head, p * a_r + p), size))
        found[1].append(_enlarged(_passed(promotion.heads[k], a_p * promoting[k] + promoting[k]), size))
        found[2].append(_enlarged(_passed(rectification.classify[k], g * a_r + g), size))
        found[3].append(_enlarged(_passed(rectification.regress[k], e), size))
    return found if attention else [found[0], [], [], []]


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("attention", [True, False])
@torch.no_grad()
def test_forward_equals_the_equations(rescale: bool, attention: bool) -> None:
    """Every level's four predictions equal those of the equations written out, with and without attention."""
    network = _network(rescale=rescale)
    images = torch.randn(2, 3, 37, 61)
    found = network.supervise(images, attention=attention)
    for number, image in enumerate(images):
        for ours, slow in zip(found, _slow(network, image, attention=attention), strict=True):
            assert len(ours) == len(slow)
            for new, expected in zip(ours, slow, strict=True):
                torch.testing.assert_close(new[number], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_inference_is_the_finest_main_prediction() -> None:
    """In evaluation `forward` equals the first main prediction of `supervise`, and runs no head but that one's."""
    network = _network()
    images = torch.randn(2, 3, 50, 34)
    expected = network.supervise(images).main[0]
    ran = []
    unused = (*network.promotion.heads, *network.rectification.classify, *network.rectification.regress)
    for layer in (*unused, *network.main.branches[1:]):
        layer.register_forward_hook(lambda *given: ran.append(given))
    torch.testing.assert_close(network(images), expected, atol=0, rtol=0)
    assert ran == []


@torch.no_grad()
def test_attention_changes_the_prediction() -> None:
    """Both attentions reach the result: it changes with the parameters of either subnetwork."""
    for part in ("promotion", "rectification"):
        network = _network(rescale=True)
        images = torch.randn(1, 3, 48, 48)
        before = network(images)
        for parameter in network.get_submodule(part).parameters():
            parameter.mul_(1.5)
        assert (network(images) - before).abs().max() > 1e-4, part


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (20, 20)])
@torch.no_grad()
def test_promotion_attention_is_a_product_of_two_distributions(size: tuple[int, int]) -> None:
    """Over all entries it sums to 1, over the positions to the channel's share; rescaled, its mean is 1."""
    torch.manual_seed(0)
    features = 2 * torch.randn(3, 7, *size)
    attention = promotion_attention(features)
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum((1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(attention.sum((2, 3)), features.mean((2, 3)).softmax(1))
    spatial = attention / attention.sum((2, 3), keepdim=True)
    torch.testing.assert_close(spatial.sum((2, 3)), torch.ones(3, 7))
    torch.testing.assert_close(promotion_attention(features, rescale=True).mean((1, 2, 3)), torch.ones(3))


@torch.no_grad()
def test_rectification_attention_lies_between_minus_one_and_one() -> None:
    """Whatever the image, A_R is within [-1, 1] and has the features' shape."""
    network = _network()
    attention, _, _ = network.rectification(network.backbone(100 * torch.randn(2, 3, 33, 40)))
    for values, stride in zip(attention, network.backbone.strides, strict=True):
        assert values.shape[1] == 8 and values.shape[2] == -(-33 // stride)
        assert values.abs().max() <= 1


@torch.no_grad()
def test_single_equals_batch_at_odd_sizes() -> None:
    """In evaluation a prediction does not depend on the batch, and has the image's size whatever that is."""
    network = _network()
    images = torch.randn(3, 3, 37, 61)
    apart = torch.cat([network(image[None]) for image in images])
    assert apart.shape == (3, 1, 37, 61)
    torch.testing.assert_close(network(images), apart, atol=1e-5, rtol=1e-4)
    assert network(torch.randn(1, 3, 16, 16)).shape == (1, 1, 16, 16)


@torch.no_grad()
def test_mirrored_image_gives_mirrored_maps() -> None:
    """With symmetric kernels, at sizes 1 more than a multiple of the stride, mirroring commutes with the network."""
    network = _network(rescale=True)
    flip_symmetric(network)
    images = torch.randn(1, 3, 49, 65)
    torch.testing.assert_close(network(images.flip(3)).flip(3), network(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BACKBONE_NAMES)
@torch.no_grad()
def test_every_backbone_serves(name: str) -> None:
    """Each backbone serves at output stride 16, with a level for each of its side outputs."""
    backbone = any_backbone(name, 16)
    network = PurNet(backbone, channels=8).eval()
    predictions = network.supervise(torch.randn(1, 3, 65, 49))
    for levels in predictions:
        assert [level.shape for level in levels] == [(1, 1, 65, 49)] * len(backbone.strides)
