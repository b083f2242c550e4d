"""Reciprocal attention against a loop, and the saliency network's laws."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from tag2mask.models.backbones import build_backbone
from tag2mask.models.losses import reciprocal_losses
from tag2mask.models.saliency.reciprocal_attention import ReciprocalAttention, ReciprocalSaliency, combined
from tests.models.tiny import BACKBONE_NAMES, TinyBackbone, any_backbone, assert_gradients_reach, flip_symmetric

MODES: tuple[Literal["transposed", "literal"], ...] = ("transposed", "literal")


def _slow(unit: ReciprocalAttention, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Claim 3 for one image with a loop over each pair of positions: (C, P) -> (C, P)."""
    assert unit.respond_foreground.bias is not None and unit.respond_background.bias is not None
    query = unit.respond_foreground.weight[:, :, 0, 0] @ foreground + unit.respond_foreground.bias[:, None]
    key = unit.respond_background.weight[:, :, 0, 0] @ background + unit.respond_background.bias[:, None]
    count = foreground.shape[1]
    power = [
        [math.exp(float(query[:, i] @ key[:, j]) / math.sqrt(len(query))) for j in range(count)] for i in range(count)
    ]
    rows = [sum(power[i]) for i in range(count)]
    columns = [sum(power[i][j] for i in range(count)) for j in range(count)]
    new_foreground, new_background = foreground.clone(), background.clone()
    for i in range(count):
        for j in range(count):
            if unit.mode == "literal":
                new_background[:, j] += foreground[:, i] * power[i][j] / rows[i]
                new_foreground[:, j] += background[:, i] * power[i][j] / rows[i]
            else:
                new_background[:, j] += foreground[:, i] * power[i][j] / columns[j]
                new_foreground[:, i] += background[:, j] * power[i][j] / rows[i]
    return new_foreground, new_background


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_equals_the_loop(mode: Literal["transposed", "literal"]) -> None:
    """Both readings of the claim equal their loops over pairs of positions."""
    torch.manual_seed(0)
    unit = ReciprocalAttention(5, key_channels=4, mode=mode)
    foreground, background = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    ours = unit(foreground, background)
    for image in range(2):
        slow = _slow(unit, foreground[image].flatten(1), background[image].flatten(1))
        for new, expected in zip(ours, slow, strict=True):
            torch.testing.assert_close(new[image].flatten(1), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_transposed_messages_are_averages() -> None:
    """Constant features pass through "transposed" unchanged, so that each side gains exactly the other's constant."""
    foreground, background = torch.full((1, 5, 3, 4), 2.0), torch.full((1, 5, 3, 4), -3.0)
    new_foreground, new_background = ReciprocalAttention(5, key_channels=4)(foreground, background)
    torch.testing.assert_close(new_foreground, torch.full_like(foreground, -1.0))
    torch.testing.assert_close(new_background, torch.full_like(foreground, -1.0))


def _saliency(**settings: object) -> ReciprocalSaliency:
    torch.manual_seed(0)
    return ReciprocalSaliency(TinyBackbone(), channels=8, key_channels=4, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("detail", "strides"), [(True, (16, 8)), (False, (16, 8)), (True, (16,)), (False, (8, 4))])
def test_gradients_reach_every_parameter(mode: str, detail: bool, strides: tuple[int, ...]) -> None:
    """Deep supervision at every level reaches every parameter, and there is no parameter that it does not need."""
    model = _saliency(mode=mode, detail=detail, attention_strides=strides)
    torch.manual_seed(1)
    predictions = model(torch.randn(2, 3, 50, 66))
    assert len(predictions) == len(strides) + detail
    target = torch.rand(2, 1, 50, 66).round()
    totals = [reciprocal_losses(foreground, background, target).total for foreground, background in predictions]
    torch.stack(totals).sum().backward()
    assert_gradients_reach(model)


@torch.no_grad()
def test_single_equals_batch_at_odd_sizes() -> None:
    """In evaluation a prediction does not depend on the batch, and has the image's size whatever that is."""
    model = _saliency().eval()
    images = torch.randn(2, 3, 37, 61)
    apart = [torch.cat(pair) for pair in zip(model(images[:1])[-1], model(images[1:])[-1], strict=True)]
    for together, single in zip(model(images)[-1], apart, strict=True):
        assert together.shape == (2, 1, 37, 61)
        torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_mirrored_image_gives_mirrored_maps() -> None:
    """With symmetric kernels, at sizes 1 more than a multiple of the stride, mirroring commutes with the model."""
    model = _saliency().eval()
    flip_symmetric(model)
    images = torch.randn(1, 3, 49, 65)
    for straight, mirrored in zip(model(images), model(images.flip(3)), strict=True):
        for one, other in zip(straight, mirrored, strict=True):
            torch.testing.assert_close(other.flip(3), one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BACKBONE_NAMES)
@torch.no_grad()
def test_every_backbone_serves(name: str) -> None:
    """At output stride 16 each backbone serves with attention at 16 and 8."""
    model = ReciprocalSaliency(any_backbone(name, 16), channels=8, key_channels=4).eval()
    foreground, background = model(torch.randn(1, 3, 65, 49))[-1]
    assert foreground.shape == background.shape == (1, 1, 65, 49)


def test_missing_strides_are_refused() -> None:
    """A stride that the backbone lacks is refused with those it has, and so is detail without a finer level."""
    backbone = build_backbone("vgg16", output_stride=8)
    with pytest.raises(ValueError, match="vgg16 has the strides 4, 8"):
        ReciprocalSaliency(backbone)
    with pytest.raises(ValueError, match="use detail=False"):
        _saliency(attention_strides=(8, 4))
    with pytest.raises(ValueError, match="'transposed' or 'literal'"):
        _saliency(mode="crossed")


def test_saliency_is_the_rectified_difference() -> None:
    """Saliency is relu(F - B) of the probabilities."""
    foreground, background = torch.tensor([0.9, 0.6, 0.2]), torch.tensor([0.2, 0.3, 0.8])
    torch.testing.assert_close(combined(foreground, background), torch.tensor([0.7, 0.3, 0.0]))


@torch.no_grad()
def test_saliency_is_a_share_that_grows_with_the_foreground() -> None:
    """Over all pairs of logits saliency lies in [0, 1), rises with F, falls with B, and is 0 where B is not less."""
    logits = torch.linspace(-30, 30, 121, dtype=torch.float64)
    foreground, background = torch.meshgrid(logits, logits, indexing="ij")
    saliency = combined(foreground.sigmoid(), background.sigmoid())
    assert saliency.min() == 0 and 0.99 < saliency.max() < 1
    assert not saliency[foreground <= background].any() and (saliency[foreground > background] > 0).all()
    assert (saliency.diff(dim=0) >= 0).all() and (saliency.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_both_readings_keep_shapes_and_make_saliency(mode: Literal["transposed", "literal"]) -> None:
    """Either reading returns features of the shapes it was given, at an odd size, and the network's maps are shares."""
    torch.manual_seed(0)
    unit = ReciprocalAttention(6, key_channels=4, mode=mode)
    given = torch.randn(2, 3, 6, 5, 7)
    assert [found.shape for found in unit(*given)] == [(3, 6, 5, 7)] * 2
    for foreground, background in _saliency(mode=mode).eval()(torch.randn(2, 3, 37, 61)):
        saliency = combined(foreground.sigmoid(), background.sigmoid())
        assert saliency.shape == (2, 1, 37, 61) and saliency.min() >= 0 and saliency.max() < 1
