"""What a model folder says of itself in `model.json`: kind, settings and classes; read without torch.

A training that starts from a model is compared with it before a run begins.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tag2mask.configs import schema
from tag2mask.configs.load import ConfigError, validated
from tag2mask.configs.section import Section
from tag2mask.tasks.common.durable import read_json

ARCHITECTURE = {
    "reciprocal": ("channels", "key_channels", "attention", "attention_strides", "detail"),
    "purificatory": ("channels", "purificatory.rescale"),
}
"""Provider -> the settings, beside the provider and `TRUNK`, with which its weights mean what they meant."""
TRUNK = ("backbone.name", "backbone.output_stride")


class WeightsError(ValueError):
    """Weights do not fit their network; the message names the file and what does not fit."""


def read_architecture(folder: Path, kind: str) -> dict[str, Any]:
    """The `model.json` of a model folder.

    Raises:
        WeightsError: missing, unreadable, or of another kind of network.
    """
    path = folder / "model.json"
    try:
        architecture = read_json(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); a model folder holds it beside model.pt") from error
    if architecture.get("kind") != kind:
        raise WeightsError(f"{path}: is a {architecture.get('kind')!r} model; a {kind!r} model is needed here")
    return dict(architecture)


def saliency_settings(folder: Path, provider: str | None = None) -> schema.Saliency:
    """The settings with which a saliency model was trained.

    Args:
        folder: the model folder.
        provider: the network that it must be; None takes any.

    Raises:
        WeightsError: it is no saliency model, or another network than the provider's.
    """
    settings = _saliency_settings(folder)
    if provider not in (None, settings.provider):
        raise WeightsError(
            f"{folder / 'model.json'}: is a {settings.provider!r} saliency network, but the settings ask for "
            f"{provider!r}: set saliency.provider to {settings.provider}, or name another saliency.checkpoint"
        )
    return settings


def check_classes(folder: Path, architecture: Mapping[str, Any], classes: tuple[str, ...]) -> None:
    """Refuse a model that was trained for other classes than the dataset's.

    Raises:
        WeightsError: the names or their order differ; the message names both.
    """
    trained = tuple(architecture["classes"])
    if trained != classes:
        raise WeightsError(
            f"{folder / 'model.json'}: was trained for {len(trained)} classes ({', '.join(trained)}), "
            f"but the dataset has {len(classes)} ({', '.join(classes)})"
        )


def architecture_of_start(folder: Path) -> dict[str, Any]:
    """The settings that a training must share with the saliency model that it starts from, name -> value.

    Raises:
        WeightsError: it is no saliency model.
    """
    settings = _saliency_settings(folder)
    names = ("provider", *TRUNK, *ARCHITECTURE[settings.provider])
    return {name: _value(settings, name) for name in names}


def check_start(config: schema.Saliency) -> None:
    """Refuse to start a training from a saliency model whose architecture is another than the settings'.

    Raises:
        WeightsError: something differs; the message names the file, both values, and what to write.
    """
    if config.start_from is None:
        return
    found = architecture_of_start(config.start_from)
    if not (config.start_from / "model.pt").is_file():
        raise WeightsError(f"{config.start_from / 'model.pt'}: no such file; a model folder holds it beside model.json")
    if found["provider"] != config.provider:  # the rest belongs to another network
        found = {"provider": found["provider"]}
    wrong = {name: value for name, value in found.items() if _value(config, name) != value}
    if wrong:
        told = "; ".join(
            f"{name} is {value!r} there and {_value(config, name)!r} here" for name, value in wrong.items()
        )
        right = " ".join(f"--set saliency.{name}={_plain(value)}" for name, value in wrong.items())
        raise WeightsError(
            f"{config.start_from / 'model.json'}: a training cannot start from this model: {told}; give it the same "
            f"({right}), or name another model in saliency.start_from"
        )


def _saliency_settings(folder: Path) -> schema.Saliency:
    """What a saliency model was trained with."""
    architecture = read_architecture(folder, "saliency")
    path = folder / "model.json"
    try:
        return validated(schema.Saliency, {**architecture["config"], "checkpoint": folder}, path)
    except KeyError as error:
        raise WeightsError(f"{path}: does not say with which settings it was trained") from error
    except ConfigError as error:
        raise WeightsError(f"{error}: the settings it was trained with do not fit this version") from error


def _value(settings: Section, name: str) -> Any:
    """A setting by its dotted name."""
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def _plain(value: Any) -> str:
    """A setting as one writes it behind `--set name=`."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
