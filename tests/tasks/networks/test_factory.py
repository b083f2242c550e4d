"""Networks from settings, model folders, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tag2mask.configs.schema import Backbone, Classifier, Saliency, Segmenter
from tag2mask.models import timm_backbones
from tag2mask.models.backbones import build_backbone
from tag2mask.tasks.networks.factory import (
    attention_network,
    classifier_network,
    load_for_inference,
    load_model,
    load_pretrained,
    read_state,
    save_model,
    save_tensors,
    segmentation_network,
)
from tag2mask.tasks.networks.model_folder import WeightsError, check_classes, read_architecture
from tag2mask.tasks.networks.packaged_weights import packaged_weights
from tag2mask.tasks.systems.registry import saliency_network

BACKBONE = {"name": "squeezenet1_1", "output_stride": 16}


def tagger(**changes: Any) -> Classifier:
    """Settings of a small classifier."""
    graph = {"nodes": 4, "states": 4, "normalize": True}
    return Classifier.model_validate({"backbone": BACKBONE, "head_channels": 8, "graph": graph} | changes)


def test_networks_have_the_settings_shapes() -> None:
    """Each network maps images to the channels that its settings and the classes call for."""
    images = torch.zeros(2, 3, 64, 64)
    logits, maps = classifier_network(tagger(), 7).eval()(images)
    assert logits.shape == (2, 7) and maps.shape[:2] == (2, 7)
    assert attention_network(tagger(), 7).eval()(images).shape == maps.shape
    segmenter = Segmenter.model_validate({"backbone": BACKBONE, "rates": (1, 2), "train_scales": (1.0,)})
    network = segmentation_network(segmenter, 7).train()
    assert all(output.shape[:2] == (2, 8) for output in network(images))  # the background is a class more
    saliency = Saliency.model_validate({"backbone": BACKBONE, "channels": 8, "key_channels": 4})
    for foreground, background in saliency_network(saliency).eval()(images):
        assert foreground.shape == background.shape == (2, 1, 64, 64)


@pytest.mark.parametrize("build", [classifier_network, attention_network])
def test_a_class_convolution_at_zero_says_nothing(build: Any) -> None:
    """With `class_init: zero` an untrained network has no evidence anywhere; as published it has some."""
    for start, silent in (("zero", True), ("published", False)):
        torch.manual_seed(0)
        output = build(tagger(class_init=start), 3).eval()(torch.randn(1, 3, 64, 64))
        maps = output[1] if isinstance(output, tuple) else output
        assert bool((maps == 0).all()) == silent


def test_the_graph_can_be_left_out() -> None:
    """Without graph reasoning and head convolutions the class convolution sits on the backbone."""
    network = classifier_network(tagger(graph={"enabled": False}, head_convolutions=0), 3)
    assert isinstance(network.graph, nn.Identity)
    assert network.classify.in_channels == network.backbone.channels[-1]


def test_model_folders_come_back_as_they_were(tmp_path: Path) -> None:
    """A network filled from a model folder computes the same, and the folder has the same bytes each time."""
    network = classifier_network(tagger(), 3).eval()
    for name in ("one", "two"):
        save_model(tmp_path / name, network, {"kind": "classifier", "classes": ["a", "b", "c"]})
    for file in ("model.pt", "model.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    other = classifier_network(tagger(), 3).eval()
    load_model(tmp_path / "one", other)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(other(images)[1], network(images)[1])
    assert read_architecture(tmp_path / "one", "classifier")["classes"] == ["a", "b", "c"]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_inference_computes_what_training_ended_with(tmp_path: Path, name: str, frozen: bool) -> None:
    """A network made fast for inference computes what the saved one does in evaluation mode."""
    settings = tagger(backbone={"name": name, "output_stride": 16, "freeze_batch_norm": frozen})
    torch.manual_seed(1)
    network = classifier_network(settings, 3)
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.add_(torch.rand(value.shape))
    save_model(tmp_path, network.eval(), {"kind": "classifier", "classes": ["a", "b", "c"]})
    fast = classifier_network(settings, 3)
    load_for_inference(tmp_path, fast, "cpu")
    images = torch.randn(2, 3, 64, 64)
    assert not fast.training
    with torch.no_grad():
        torch.testing.assert_close(fast(images)[1], network(images)[1], rtol=1e-3, atol=1e-4)


def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    """Weights of another shape are refused with the file, the key and both shapes."""
    save_model(tmp_path, classifier_network(tagger(), 3), {"kind": "classifier"})
    with pytest.raises(WeightsError) as refusal:
        load_model(tmp_path, classifier_network(tagger(), 5))
    assert str(refusal.value) == (
        f"{tmp_path / 'model.pt'}: does not fit the network: classify.weight is (3, 8, 1, 1), not (5, 8, 1, 1); "
        "classify.bias is (3,), not (5,) (2 in all)"
    )


def test_missing_and_unknown_keys_are_named(tmp_path: Path) -> None:
    """A model folder with other keys is refused, and the message names those of both kinds."""
    state = dict(classifier_network(tagger(), 3).state_dict())
    state["classify.strange"] = state.pop("classify.bias")
    save_tensors(tmp_path / "model.pt", state)
    with pytest.raises(WeightsError, match="classify.bias is missing; classify.strange is unknown"):
        load_model(tmp_path, classifier_network(tagger(), 3))


def test_other_classes_are_refused_with_both_lists(tmp_path: Path) -> None:
    """Classes in another order, or other ones, are refused; the same ones pass."""
    check_classes(tmp_path, {"classes": ["a", "b"]}, ("a", "b"))
    with pytest.raises(WeightsError, match=r"trained for 2 classes \(b, a\), but the dataset has 2 \(a, b\)"):
        check_classes(tmp_path, {"classes": ["b", "a"]}, ("a", "b"))


def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    """A missing file, a damaged one, one with code in it and one of another content are refused by name."""
    with pytest.raises(WeightsError, match="none.pt: no such file"):
        read_state(tmp_path / "none.pt")
    (tmp_path / "damaged.pt").write_bytes(b"not a model")
    torch.save(nn.Linear(1, 1), tmp_path / "code.pt")
    for name in ("damaged.pt", "code.pt"):
        with pytest.raises(WeightsError, match=f"{name}: is not a state dict that can be read safely"):
            read_state(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match=r"list.pt: must hold a state dict \(name -> tensor\), not list"):
        read_state(tmp_path / "list.pt")


def test_a_model_of_an_earlier_version_stays_usable(tmp_path: Path) -> None:
    """A setting that has become the machine's is left out of what a model folder says of its training."""
    config = tagger().model_dump(mode="json")
    save_model(tmp_path, nn.Linear(1, 1), {"kind": "classifier", "config": {**config, "precision": "bfloat16"}})
    assert read_architecture(tmp_path, "classifier")["config"] == config


def test_a_folder_without_its_description_is_refused(tmp_path: Path) -> None:
    """A model folder without a readable `model.json` is refused and reported what belongs there."""
    with pytest.raises(WeightsError, match="model.json: cannot be read .*; a model folder holds it beside model.pt"):
        read_architecture(tmp_path, "classifier")


def test_weights_from_a_file_reach_the_backbone(tmp_path: Path) -> None:
    """A backbone takes over the state dict of a file, and without one it keeps its random weights."""
    torch.manual_seed(3)
    given = build_backbone("squeezenet1_1", output_stride=16)
    torch.save(given.state_dict(), tmp_path / "backbone.pt")
    backbone = build_backbone("squeezenet1_1", output_stride=16)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    load_pretrained(backbone, Backbone(name="squeezenet1_1", output_stride=16), None)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    load_pretrained(
        backbone, Backbone(name="squeezenet1_1", output_stride=16, weights="x.pt"), tmp_path / "backbone.pt"
    )
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in backbone.state_dict().items())


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    """A state dict of another architecture is refused with the file and the first keys that do not fit."""
    torch.save(build_backbone("mobilenet_v2", output_stride=16).state_dict(), tmp_path / "other.pt")
    backbone = build_backbone("squeezenet1_1", output_stride=16)
    with pytest.raises(WeightsError, match="other.pt: these are not torchvision's weights of squeezenet1_1: .*missing"):
        load_pretrained(backbone, Backbone(name="squeezenet1_1", output_stride=16), tmp_path / "other.pt")


def test_pretrained_weights_are_whose_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packaged weights fill the backbone, timm's are asked of timm, and what cannot be fetched is named in a line."""
    settings = Backbone(name="tf_efficientnet_lite0", output_stride=16, weights="packaged")
    network, other = (classifier_network(tagger(backbone=settings), 3).backbone for _ in range(2))
    load_pretrained(network, settings, None)
    packaged = read_state(packaged_weights("tf_efficientnet_lite0"))
    assert torch.equal(network.state_dict()["network.conv_stem.weight"], packaged["_conv_stem.weight"])
    monkeypatch.setattr(timm_backbones, "pretrained_state", lambda name: network.pretrained.state_dict())
    load_pretrained(other, settings.replaced(weights="timm"), None)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in other.state_dict().items())

    def offline(name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm_backbones, "pretrained_state", offline)
    with pytest.raises(WeightsError, match=r"the weights of tf_efficientnet_lite0 cannot be had \(no network\)"):
        load_pretrained(other, settings.replaced(weights="timm"), None)
