"""Build networks from settings, and keep them as model folders: `model.pt` (state dict) beside `model.json`."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torchvision
from torch import nn

from tag2mask.configs import schema
from tag2mask.models.backbones import BACKBONES, Backbone, build_backbone
from tag2mask.models.graph_reasoning import GraphReasoning
from tag2mask.models.integral_attention import IntegralAttention
from tag2mask.models.parts.batch_norm import fold_batch_norm, freeze_batch_norm
from tag2mask.models.segmenter import MultiScale, Segmenter
from tag2mask.models.tag_classifier import TagClassifier
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.networks.packaged_weights import packaged_weights
from tag2mask.tasks.networks.weights_file import UNREADABLE, check_weights_file
from tag2mask.tasks.store.files import write_file, write_json

Tagger = TypeVar("Tagger", TagClassifier, IntegralAttention)


def classifier_network(config: schema.Classifier, classes: int) -> TagClassifier:
    """The tag classifier for C classes, without pre-trained weights."""
    backbone = backbone_network(config.backbone)
    return _class_init(TagClassifier(backbone, classes=classes, **_head(config, backbone)), config)


def attention_network(config: schema.Classifier, classes: int) -> IntegralAttention:
    """The integral attention model for C classes, without pre-trained weights."""
    backbone = backbone_network(config.backbone)
    return _class_init(IntegralAttention(backbone, classes=classes, **_head(config, backbone)), config)


def segmentation_network(config: schema.Segmenter, classes: int) -> MultiScale:
    """The segmenter for C classes and the background, in its multi-scale wrapper, without pre-trained weights."""
    segmenter = Segmenter(
        backbone_network(config.backbone),
        classes=classes + 1,
        rates=config.rates,
        low_level_channels=config.low_level_channels,
    )
    return MultiScale(segmenter, config.train_scales)


def backbone_network(config: schema.Backbone, *, fine: bool = False) -> Backbone:
    """A backbone without pre-trained weights.

    Args:
        config: which, and its output stride.
        fine: with VGG16's side outputs at strides 1 and 2.
    """
    if config.name in BACKBONES:
        backbone = build_backbone(config.name, output_stride=config.output_stride, fine=fine)
    else:
        from tag2mask.models.timm_backbones import build_timm_backbone  # takes seconds to import

        backbone = build_timm_backbone(config.name, output_stride=config.output_stride)
    if config.freeze_batch_norm:
        freeze_batch_norm(backbone)
    return backbone


def check_backbone(config: schema.Backbone) -> None:
    """Refuse an encoder of timm's that does not exist or cannot serve.

    Raises:
        ValueError: the message says why, and what can be had.
    """
    from tag2mask.models.timm_backbones import check_timm_backbone

    if not config.is_torchvision:
        check_timm_backbone(config.name, config.output_stride)


def _class_init(network: Tagger, config: schema.Classifier) -> Tagger:
    """Start the class convolution at zero, if the settings say so."""
    if config.class_init == "zero":
        nn.init.zeros_(network.classify.weight)
        if network.classify.bias is not None:
            nn.init.zeros_(network.classify.bias)
    return network


def _head(config: schema.Classifier, backbone: Backbone) -> dict[str, Any]:
    graph = None
    if config.graph.enabled:
        graph = GraphReasoning(
            config.head_channels if config.head_convolutions else backbone.channels[-1],
            nodes=config.graph.nodes,
            states=config.graph.states,
            normalize=config.graph.normalize,
            blocker_init=config.graph.blocker_init,
        )
    return {
        "head_convolutions": config.head_convolutions,
        "head_channels": config.head_channels,
        "head_kernel": config.head_kernel,
        "graph": graph,
        "class_norm": config.class_norm == "batch",
        "background": config.saliency_weight > 0,
    }


def load_pretrained(backbone: Backbone, config: schema.Backbone, weights: Path | None) -> None:
    """Fill a backbone with the ImageNet weights that the settings ask for, strictly.

    Args:
        backbone: the backbone.
        config: its settings; `weights` says whose: see there.
        weights: the state dict's file, where the settings name one.

    Raises:
        WeightsError: not installed, unreadable or not to be fetched, or keys and shapes that do not fit.
    """
    from tag2mask.models.imagenet_weights import load_imagenet

    if weights is None and config.weights == "none":
        return
    try:
        load_imagenet(backbone, _pretrained_state(backbone, config, weights))
    except ValueError as error:
        raise WeightsError(f"{weights or config.weights}: {error}") from error


def _pretrained_state(backbone: Backbone, config: schema.Backbone, weights: Path | None) -> Mapping[str, torch.Tensor]:
    """State dict of the whole network by its library's names."""
    if weights is not None:
        return read_state(weights)
    if config.weights == "torchvision":
        published = torchvision.models.get_model_weights(config.name)["IMAGENET1K_V1"]
        return cast(Mapping[str, torch.Tensor], published.get_state_dict(progress=False))
    if config.weights == "packaged":
        from tag2mask.models.imagenet_weights import as_timm_names

        return as_timm_names(read_state(packaged_weights(config.name)), backbone.pretrained.state_dict())
    from tag2mask.models.timm_backbones import pretrained_state

    try:
        return pretrained_state(config.name)
    except Exception as error:  # timm and its hub have dozens
        raise WeightsError(f"timm: the weights of {config.name} cannot be had ({error})") from error


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict, read without executing anything that stands in the file.

    Raises:
        WeightsError: the file is missing, damaged or holds something else; in one line.
    """
    check_weights_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for damaged files, some of them with a page of advice
        reason = str(error).partition("\n")[0][:100]
        raise WeightsError(f"{path}: {UNREADABLE} ({type(error).__name__}: {reason})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: must hold a state dict (name -> tensor), not {type(state).__name__}")
    return state


def save_tensors(path: Path, value: Mapping[str, Any]) -> None:
    """Write tensors and plain values in torch's format, atomically; the bytes depend on the content alone."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_file(path, lambda file: file.write(buffer.getbuffer()))


def save_model(folder: Path, network: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Write a model folder: `model.pt` and `model.json`."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_tensors(folder / "model.pt", state)
    write_json(folder / "model.json", dict(architecture))


def load_model(folder: Path, network: nn.Module) -> None:
    """Fill a network from a model folder, strictly.

    Raises:
        WeightsError: keys or shapes differ; the message names the first ones.
    """
    path = folder / "model.pt"
    _fill(network, read_state(path), path)


def load_backbone(folder: Path, backbone: Backbone) -> None:
    """Fill a backbone with that of a model folder (whose network calls it `backbone`), strictly.

    Raises:
        WeightsError: keys or shapes differ; the message names the first ones.
    """
    path, prefix = folder / "model.pt", "backbone."
    state = {name.removeprefix(prefix): value for name, value in read_state(path).items() if name.startswith(prefix)}
    _fill(backbone, state, path)


def _fill(network: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    own = network.state_dict()
    faults = [f"{name} is missing" for name in own if name not in state]
    faults += [f"{name} is unknown" for name in state if name not in own]
    faults += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if faults:
        raise WeightsError(f"{path}: does not fit the network: {'; '.join(faults[:5])} ({len(faults)} in all)")
    network.load_state_dict(state, strict=True)


def place(network: nn.Module, device: str) -> None:
    """Move a network to a device, its weights channels last, which is the faster layout on CPU and GPU."""
    network.to(device)
    network.to(memory_format=torch.channels_last)


def load_for_inference(folder: Path, network: nn.Module, device: str) -> None:
    """Fill a network from a model folder, strictly, and make it ready to predict as fast as it can, not to train.

    Raises:
        WeightsError: see `load_model`.
    """
    load_model(folder, network)
    place(network, device)
    network.eval()
    fold_batch_norm(network)
