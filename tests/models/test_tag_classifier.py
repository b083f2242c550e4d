"""The classifier and the integral attention model."""

from typing import Any

import pytest
import torch
from torch import nn

from tag2mask.models.backbones import build_backbone
from tag2mask.models.graph_reasoning import GraphReasoning
from tag2mask.models.integral_attention import IntegralAttention
from tag2mask.models.losses import integral_attention_loss, tag_loss
from tag2mask.models.parts.parameter_groups import parameter_groups
from tag2mask.models.tag_classifier import TagClassifier
from tag2mask.tasks.training.frozen_features import PassedOn
from tests.models.tiny import TinyBackbone, assert_gradients_reach, flip_symmetric


def _classifier(**settings: int) -> TagClassifier:
    torch.manual_seed(0)
    graph = GraphReasoning(12, nodes=4, states=6)
    return TagClassifier(TinyBackbone(), classes=3, head_channels=12, graph=graph, **settings)


def _attention() -> IntegralAttention:
    torch.manual_seed(0)
    return IntegralAttention(TinyBackbone(), classes=3, head_channels=12, graph=GraphReasoning(12, nodes=4, states=6))


def test_published_size_and_groups() -> None:
    """The published setting has 21.99 million parameters in groups of 13, 13, 10 and 8 at rates 1, 2, 10 and 20."""
    backbone = build_backbone("vgg16", output_stride=8)
    model = TagClassifier(backbone, classes=20, graph=GraphReasoning(512))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 21.99
    groups = parameter_groups(model, 1e-3)
    assert [group["name"] for group in groups] == ["backbone_weight", "backbone_bias", "head_weight", "head_bias"]
    assert [len(group["params"]) for group in groups] == [13, 13, 10, 8]
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 2e-3, 1e-2, 2e-2])
    assert {group["weight_decay"] for group in groups} == {5e-4}


def test_groups_hold_each_trainable_parameter_once() -> None:
    """The groups partition the trainable parameters, and DeepLab's exception spares the head's biases decay."""
    model = _classifier()
    next(model.backbone.parameters()).requires_grad_(False)
    groups = parameter_groups(model, 0.1, decay_head_bias=False)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert [group["weight_decay"] for group in groups] == [5e-4, 5e-4, 5e-4, 0.0]
    torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    with pytest.raises(TypeError, match="no module named backbone"):
        parameter_groups(nn.Linear(2, 2), 0.1)


def test_logits_are_averages_of_maps() -> None:
    """A tag's logit is the average of its map."""
    logits, maps = _classifier()(torch.randn(2, 3, 65, 97))
    assert maps.shape == (2, 3, 5, 7)
    for image in range(2):
        for tag in range(3):
            assert logits[image, tag].item() == pytest.approx(maps[image, tag].mean().item(), abs=1e-5)


@torch.no_grad()
def test_relu_places() -> None:
    """The classifier rectifies behind the graph only, the attention model behind the last head convolution only."""
    classifier, attention = _classifier().eval(), _attention().eval()
    assert [type(layer) for layer in classifier.head] == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d]
    assert [type(layer) for layer in attention.head] == [nn.Conv2d, nn.ReLU] * 3
    images = torch.randn(2, 3, 64, 64)
    reasoned = classifier.graph(classifier.head(classifier.backbone(images)[-1]))
    torch.testing.assert_close(classifier(images)[1], classifier.classify(reasoned.clamp_min(0)))
    reasoned = attention.graph(attention.head(attention.backbone(images)[-1]))
    torch.testing.assert_close(attention(images), attention.classify(reasoned))


@torch.no_grad()
def test_single_equals_batch() -> None:
    """In evaluation an image's maps do not depend on its batch."""
    images = torch.randn(2, 3, 48, 64)
    classifier, attention = _classifier().eval(), _attention().eval()
    apart = torch.cat([classifier(images[:1])[1], classifier(images[1:])[1]])
    torch.testing.assert_close(classifier(images)[1], apart, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        attention(images), torch.cat([attention(images[:1]), attention(images[1:])]), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("model", [_classifier, _attention])
@torch.no_grad()
def test_mirrored_image_gives_mirrored_maps(model: type[nn.Module]) -> None:
    """With symmetric kernels, at widths 1 more than a multiple of the stride, mirroring commutes with the model."""
    network = model().eval()
    flip_symmetric(network)
    images = torch.randn(2, 3, 49, 65)
    maps, mirrored = (network(view) for view in (images, images.flip(3)))
    if isinstance(maps, tuple):
        maps, mirrored = maps[1], mirrored[1]
    torch.testing.assert_close(mirrored.flip(3), maps, atol=1e-5, rtol=1e-4)


def test_gradients_reach_every_parameter() -> None:
    """One step of either model's loss reaches every parameter."""
    torch.manual_seed(1)
    images, classifier, attention = torch.randn(2, 3, 64, 64), _classifier(), _attention()
    tag_loss(classifier(images)[0], torch.tensor([[1, 0, 1], [0, 1, 0]])).backward()
    assert_gradients_reach(classifier)
    integral_attention_loss(attention(images), torch.rand(2, 3, 4, 4).sub(0.5).clamp_min(0)).backward()
    assert_gradients_reach(attention)


def test_heads_can_be_left_out() -> None:
    """Without head convolutions the graph works on the backbone's width, and without a graph the model still runs."""
    graph = GraphReasoning(10, nodes=4, states=6)
    for made in (graph, None):
        model = TagClassifier(TinyBackbone(), classes=3, head_convolutions=0, graph=made)
        assert model(torch.randn(2, 3, 64, 64))[1].shape == (2, 3, 4, 4)
        attention = IntegralAttention(TinyBackbone(), classes=3, head_convolutions=0, graph=made)
        assert attention(torch.randn(2, 3, 64, 64)).shape == (2, 3, 4, 4)


def test_wrong_heads_are_refused() -> None:
    """A graph of another width and an even kernel are refused with the right numbers."""
    with pytest.raises(ValueError, match="built for 10 channels, its input has 512"):
        TagClassifier(TinyBackbone(), classes=3, graph=GraphReasoning(10))
    with pytest.raises(ValueError, match="head_kernel 4 must be odd"):
        _classifier(head_kernel=4)


def test_weights_serve_both_models() -> None:
    """The attention model takes the classifier's state key by key."""
    _attention().load_state_dict(_classifier().state_dict())


@pytest.mark.parametrize("kind", [TagClassifier, IntegralAttention])
def test_a_class_norm_gives_all_channels_equal_say(kind: type[TagClassifier] | type[IntegralAttention]) -> None:
    """Behind the norm, channels of a backbone that are up to a thousand times larger, or shifted, change no map."""
    torch.manual_seed(0)
    model = kind(PassedOn(TinyBackbone()), classes=3, head_convolutions=0, graph=None, class_norm=True)
    features = torch.rand(4, 10, 5, 6)
    other = torch.logspace(0, 3, 10)[:, None, None] * features + 5
    found = [model(shown) for shown in (features, other)]
    maps = [one[1] if isinstance(one, tuple) else one for one in found]
    assert maps[0].std() > 0.1 and torch.allclose(maps[0], maps[1], atol=1e-3)


@torch.no_grad()
def test_a_map_of_the_background_competes_with_the_classes() -> None:
    """With it the maps of both models are probabilities that leave something to the background."""
    torch.manual_seed(0)
    graph, images = GraphReasoning(12, nodes=4, states=6), torch.randn(2, 3, 64, 64)
    settings: dict[str, Any] = {"classes": 3, "head_channels": 12, "graph": graph, "background": True}
    logits, maps = TagClassifier(TinyBackbone(), **settings).eval()(images)
    attention = IntegralAttention(TinyBackbone(), **settings).eval()
    scores = attention(images)
    assert logits.shape == (2, 3) and maps.shape[1] == 3 and scores.shape[1] == 4
    for found in (maps, attention.class_maps(scores)):
        assert found.min() > 0 and found.sum(1).max() < 1
    plain = _attention().eval()
    assert torch.equal(plain.class_maps(plain(images)), plain(images))
