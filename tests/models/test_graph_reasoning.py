"""Graph reasoning against a loop, and its laws."""

import pytest
import torch
from torch import Tensor, nn

from tag2mask.models.graph_reasoning import GraphReasoning
from tests.models.tiny import assert_gradients_reach


def _slow(unit: GraphReasoning, features: Tensor) -> Tensor:
    """The specification with one loop per index, evaluation mode, one image at a time."""
    result = features.clone()
    state_weight, state_bias = unit.to_states.weight[:, :, 0, 0], unit.to_states.bias
    node_weight, node_bias = unit.to_nodes.weight[:, :, 0, 0], unit.to_nodes.bias
    assert state_bias is not None and node_bias is not None and unit.mix_nodes.bias is not None
    norm = unit.blocker
    assert norm.running_mean is not None and norm.running_var is not None
    for image in range(len(features)):
        pixels = [features[image, :, y, x] for y in range(features.shape[2]) for x in range(features.shape[3])]
        states = [state_weight @ pixel + state_bias for pixel in pixels]
        nodes = [node_weight @ pixel + node_bias for pixel in pixels]
        count = node_weight.shape[0]
        graph = [sum((nodes[p][k] * states[p] for p in range(len(pixels))), torch.zeros(())) for k in range(count)]
        if unit.normalize:
            graph = [node / len(pixels) for node in graph]
        mixing = unit.mix_nodes.weight[:, :, 0]
        mixed = [
            graph[k] + unit.mix_nodes.bias[k] + sum((mixing[k, j] * graph[j] for j in range(count)), torch.zeros(()))
            for k in range(count)
        ]
        reasoned = [unit.mix_states.weight[:, :, 0] @ node.clamp_min(0) for node in mixed]
        for p in range(len(pixels)):
            back = sum((nodes[p][k] * reasoned[k] for k in range(count)), torch.zeros(()))
            value = unit.extend.weight[:, :, 0, 0] @ back
            value = (value - norm.running_mean) / (norm.running_var + 1e-4).sqrt() * norm.weight + norm.bias
            result[image, :, p // features.shape[3], p % features.shape[3]] += value
    return result


@pytest.mark.parametrize("normalize", [False, True])
@torch.no_grad()
def test_equals_the_loop(normalize: bool) -> None:
    """The unit equals the specification written as loops over images, positions and nodes."""
    torch.manual_seed(0)
    unit = GraphReasoning(5, nodes=3, states=4, normalize=normalize)
    unit(torch.randn(4, 5, 3, 4))
    nn.init.normal_(unit.blocker.weight)
    nn.init.normal_(unit.blocker.bias)
    features = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(unit.eval()(features), _slow(unit, features), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_positions_permute() -> None:
    """The graph knows no geometry: shuffling the positions shuffles the output and changes nothing else."""
    torch.manual_seed(0)
    unit = GraphReasoning(5, nodes=3, states=4).eval()
    features, order = torch.randn(2, 5, 3, 4), torch.randperm(12)
    shuffled = unit(features.flatten(2)[:, :, order].unflatten(2, (3, 4)))
    expected = unit(features).flatten(2)[:, :, order].unflatten(2, (3, 4))
    torch.testing.assert_close(shuffled, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_scale_does_not_matter_when_counted() -> None:
    """With the number of positions divided out, repeating each position 2x2 repeats the output and changes no value."""
    torch.manual_seed(0)
    unit = GraphReasoning(5, nodes=3, states=4, normalize=True).eval()
    features = torch.randn(2, 5, 3, 4)
    larger = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = unit(features).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(unit(larger), expected, atol=1e-5, rtol=1e-4)


def test_zero_blocker_is_the_identity_and_learns() -> None:
    """With a zero blocker the unit starts as the identity, and its scale and shift receive gradients all the same."""
    torch.manual_seed(0)
    unit = GraphReasoning(5, nodes=3, states=4, blocker_init="zero")
    features = torch.randn(2, 5, 3, 4)
    output = unit(features)
    torch.testing.assert_close(output, features, atol=0, rtol=0)
    (output * torch.randn_like(output)).sum().backward()
    assert unit.blocker.weight.grad is not None and unit.blocker.weight.grad.abs().sum() > 0
    assert unit.blocker.bias.grad is not None and unit.blocker.bias.grad.abs().sum() > 0


def test_gradients_reach_every_parameter() -> None:
    """Every parameter gets a finite gradient that is not zero."""
    torch.manual_seed(0)
    unit = GraphReasoning(5, nodes=3, states=4)
    output = unit(torch.randn(2, 5, 3, 4))
    (output * torch.randn_like(output)).sum().backward()
    assert_gradients_reach(unit)


def test_published_size() -> None:
    """With the published 512 channels the unit has 0.186 million parameters."""
    assert round(sum(p.numel() for p in GraphReasoning(512).parameters()) / 1e6, 3) == 0.186
