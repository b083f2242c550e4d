"""The data and the optimizer that the tag classifier and the integral attention model share."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.configs.schema import Classifier
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.networks.factory import classifier_network
from tag2mask.tasks.training.tag_training import ResizedImageBatches, drops, frozen_backbone_folded, optimizer_of
from tests.tasks.drawn_run import blocks, write_dataset

STILL = {"image_size": 32, "epochs": 4, "batch_size": 3, "jitter": (0, 0, 0, 0), "drop_epochs": (2, 3)}


def settings(**changes: Any) -> Classifier:
    """Settings of a small classifier without color jitter."""
    backbone = {"name": "resnet18", "output_stride": 32}
    return Classifier.model_validate({"backbone": backbone, "head_convolutions": 0} | STILL | changes)


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    """Five images."""
    return ImageIndex.read(write_dataset(tmp_path, ("a", "b"), blocks(1, 5, 2)))


@pytest.mark.parametrize("flip", [False, True])
def test_what_is_mirrored_is_mirrored_back(index: ImageIndex, flip: bool) -> None:
    """Batches turned back by `mirror_back` are those without mirroring, and some are mirrored if asked for."""
    plain, mirrored = (ResizedImageBatches(index, settings(flip=f), "cpu") for f in (False, flip))
    differing = 0
    for step in range(len(plain.steps)):
        (numbers, images), (same_numbers, seen) = plain.batch(step), mirrored.batch(step)
        assert numbers == same_numbers and images.shape == (len(numbers), 3, 32, 32)
        assert torch.equal(mirrored.mirror_back(step, seen), images)
        differing += int((seen != images).flatten(1).any(1).sum())
    assert 0 < differing < 20 if flip else differing == 0
    for data in (plain, mirrored):
        data.prefetch.close()


def test_the_step_size_drops_at_its_epochs() -> None:
    """The factor is divided by ten at the first step of each of the epochs named."""
    factor = drops(settings(), 2)
    assert [factor(step) for step in range(8)] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_sgd_has_the_published_groups() -> None:
    """Backbone weights learn at the rate, biases at twice and the head at ten times that."""
    network = classifier_network(settings(backbone={"name": "vgg16"}, head_convolutions=1), 2)
    groups = optimizer_of(network, settings(learning_rate=0.5)).param_groups
    assert [group["lr"] for group in groups] == [0.5, 1.0, 5.0, 10.0]
    assert all(group["nesterov"] and group["weight_decay"] == 5e-4 for group in groups)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_backbone_kept_as_it_comes_is_given_to_no_optimizer(optimizer: str) -> None:
    """With `backbone_factor` 0 neither optimizer holds a parameter of the backbone."""
    config = settings(optimizer=optimizer, backbone_factor=0)
    network = classifier_network(config, 2)
    backbone = {id(parameter) for parameter in network.backbone.parameters()}
    held = {id(p) for group in optimizer_of(network, config).param_groups for p in group["params"]}
    assert held and not held & backbone


def test_a_folded_backbone_stands_in_only_for_a_while() -> None:
    """While it is not trained a backbone is replaced by one with equal features, and comes back after an error too."""
    config = settings(backbone_factor=0)
    torch.manual_seed(0)
    network = classifier_network(config, 2).eval()
    backbone, images = network.backbone, torch.randn(2, 3, 64, 64)
    before = network(images)[1]
    with pytest.raises(RuntimeError, match="stop"), frozen_backbone_folded(network, config):
        assert network.backbone is not backbone
        torch.testing.assert_close(network(images)[1], before, rtol=1e-3, atol=1e-4)
        raise RuntimeError("stop")
    assert network.backbone is backbone
    with frozen_backbone_folded(network, settings()):
        assert network.backbone is backbone
