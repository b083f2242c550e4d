"""The data and the optimizer that the tag classifier and the integral attention model share."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tag2mask.configs.schema import Classifier
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.networks.factory import classifier_network
from tag2mask.tasks.store.files import NoRoomOnDisk
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.tag_training import (
    FeatureBatches,
    ResizedImageBatches,
    drops,
    tag_batches,
    tag_optimizer,
)
from tests.tasks.drawn_run import blocks, write_dataset

STILL = {"image_size": 32, "epochs": 4, "batch_size": 3, "jitter": (0, 0, 0, 0), "drop_epochs": (2, 3)}


def settings(**changes: Any) -> Classifier:
    """Settings of a small classifier without color jitter."""
    backbone = {"name": "resnet18", "output_stride": 16}
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
        data.close()


def test_the_learning_rate_drops_at_its_epochs() -> None:
    """The factor is divided by ten at the first step of each of the epochs named."""
    factor = drops(settings(), 2)
    assert [factor(step) for step in range(8)] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_sgd_has_the_published_groups() -> None:
    """Backbone weights learn at the rate, biases at twice and the head at ten times that."""
    network = classifier_network(settings(backbone={"name": "vgg16"}, head_convolutions=1), 2)
    groups = tag_optimizer(network, settings(learning_rate=0.5)).param_groups
    assert [group["lr"] for group in groups] == [0.5, 1.0, 5.0, 10.0]
    assert all(group["nesterov"] and group["weight_decay"] == 5e-4 for group in groups)


def test_adamw_has_one_rate_and_a_part_of_it_for_the_backbone() -> None:
    """With AdamW the head's weights and biases learn at the rate, the backbone's at `backbone_factor` times that."""
    config = settings(optimizer="adamw", learning_rate=0.5, backbone_factor=0.1, weight_decay=0.01)
    network = classifier_network(config, 2)
    groups = tag_optimizer(network, config).param_groups
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    wanted = {
        id(parameter): pytest.approx(0.05 if name.startswith("backbone.") else 0.5)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    assert rate == wanted and all(group["weight_decay"] == 0.01 for group in groups)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_backbone_kept_as_it_comes_is_given_to_no_optimizer(optimizer: str) -> None:
    """With `backbone_factor` 0 neither optimizer holds a parameter of the backbone."""
    config = settings(optimizer=optimizer, backbone_factor=0)
    network = classifier_network(config, 2)
    backbone = {id(parameter) for parameter in network.backbone.parameters()}
    held = {id(p) for group in tag_optimizer(network, config).param_groups for p in group["params"]}
    assert held and not held & backbone


def test_a_folded_backbone_stands_in_only_for_a_while(tmp_path: Path, index: ImageIndex) -> None:
    """While it is not trained a backbone is replaced by one with equal features, and comes back after an error too."""
    config = settings(backbone_factor=0, feature_copies=0)
    torch.manual_seed(0)
    network = classifier_network(config, 2).eval()
    backbone, images = network.backbone, torch.rand(2, 3, 64, 64)
    before = network(images)[1]
    runtime = StageRuntime()
    with pytest.raises(RuntimeError, match="stop"), tag_batches(network, index, config, tmp_path, runtime) as data:
        assert network.backbone is not backbone and isinstance(data, ResizedImageBatches)
        torch.testing.assert_close(network(images)[1], before, rtol=1e-3, atol=1e-4)
        raise RuntimeError("stop")
    assert network.backbone is backbone
    with tag_batches(network, index, settings(), tmp_path, runtime):
        assert network.backbone is backbone


@pytest.mark.parametrize("flip", [False, True])
@torch.no_grad()
def test_features_stand_in_for_images(tmp_path: Path, index: ImageIndex, flip: bool) -> None:
    """Without jitter every batch of features gives the maps of its images, mirrored ones those of mirrored images."""
    config = settings(backbone_factor=0, flip=flip)
    torch.manual_seed(0)
    network = classifier_network(config, 2).eval()
    plain, mirrored = ResizedImageBatches(index, settings(), "cpu"), 0
    with tag_batches(network, index, config, tmp_path, StageRuntime()) as data:
        assert isinstance(data, FeatureBatches)
        batches = [(*data.batch(step), network(data.batch(step)[1])[1]) for step in range(len(data.steps))]
        turned = [data.mirror_back(step, maps) for step, (*_, maps) in enumerate(batches)]
    for step, (numbers, features, maps) in enumerate(batches):
        same_numbers, images = plain.batch(step)
        assert numbers == same_numbers and features.shape == (len(numbers), 512, 2, 2)
        expected, of_mirror = network(images)[1], network(images.flip(3))[1]
        for position in range(len(numbers)):
            rounding = 2e-3 * float(expected.abs().max())  # float16 features, of which the maps are large sums
            kept = torch.allclose(maps[position], expected[position], rtol=1e-2, atol=rounding)
            assert kept or torch.allclose(maps[position], of_mirror[position], rtol=1e-2, atol=rounding)
            mirrored += not kept
        for back, seen in zip(turned[step], maps, strict=True):
            assert torch.equal(back, seen) or torch.equal(back.flip(2), seen)
    assert 0 < mirrored < 20 if flip else mirrored == 0
    plain.close()


def met(index: ImageIndex, out: Path, config: Classifier) -> set[tuple[int, tuple[float, ...]]]:
    """(image, features) of all samples of a training."""
    network = classifier_network(config, 2).eval()
    with tag_batches(network, index, config, out, StageRuntime()) as data:
        batches = [data.batch(step) for step in range(len(data.steps))]
    return {(n, tuple(f.flatten().tolist())) for numbers, batch in batches for n, f in zip(numbers, batch, strict=True)}


def test_jittered_copies_differ_and_all_are_taken(tmp_path: Path, index: ImageIndex) -> None:
    """With three copies each image has three kinds of features in a long training, with one it has one."""
    config = settings(backbone_factor=0, feature_copies=3, jitter=(0.3, 0.3, 0.3, 0.1), epochs=12)
    assert len(met(index, tmp_path / "three", config)) == 15
    assert len(met(index, tmp_path / "one", config.replaced(feature_copies=1))) == 5


def test_features_that_do_not_fit_on_the_disk_are_reported_first(
    tmp_path: Path, index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the features take is compared with what is free before the first is computed."""
    config = settings(backbone_factor=0)
    network = classifier_network(config, 2)
    backbone = network.backbone
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    refused = pytest.raises(NoRoomOnDisk, match=r"features take .* or lower feature_copies \(2; 0 keeps none\)")
    with refused, tag_batches(network, index, config, tmp_path, StageRuntime()):
        pass
    assert network.backbone is backbone
