"""What a model folder says of itself in `model.json`: kind, settings and classes; read without torch.

A training that starts from a model is compared with it before a run begins.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from tag2mask.configs import schema
from tag2mask.configs.errors import UserError
from tag2mask.configs.load import ConfigError, validated
from tag2mask.configs.sections.section import RETIRED, Section
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import read_json

Trained = TypeVar("Trained", schema.Saliency, schema.Cosaliency)


class WeightsError(UserError, ValueError):
    """Weights do not fit their network; the message names the file and what does not fit."""


def trained_settings(config: Section, weights: Path | None) -> dict[str, Any]:
    """The settings of a training as its `model.json` keeps them: equal wherever the files lay that it read.

    Args:
        config: settings of a network with a `backbone`.
        weights: file that the backbone's weights were read from, where the settings name one; kept as its digest.
    """
    settings = config.recipe()
    if weights is not None:
        settings["backbone"]["weights"] = f"sha256:{file_digest(weights)}"
    return settings


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
    for key in RETIRED.keys() & architecture.get("config", {}).keys():
        del architecture["config"][key]  # models of earlier versions stay usable
    return dict(architecture)


def saliency_settings(folder: Path, provider: str | None = None) -> schema.Saliency:
    """The settings with which a saliency model was trained.

    Args:
        folder: the model folder.
        provider: the network that it must be; None takes any.

    Raises:
        WeightsError: it is no saliency model, or another network than the provider's.
    """
    return _trained_with(schema.Saliency, folder, "saliency", provider)


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
    return saliency_settings(folder).architecture()


def cosaliency_settings(folder: Path, provider: str | None = None) -> schema.Cosaliency:
    """The settings with which a group system was trained.

    Args:
        folder: the model folder.
        provider: the system that it must be; None takes any.

    Raises:
        WeightsError: it is no group system, or another one than the provider's.
    """
    return _trained_with(schema.Cosaliency, folder, "cosaliency", provider)


def check_checkpoint(folder: Path, kind: Literal["saliency", "cosaliency"], provider: str) -> None:
    """Refuse a model folder whose network is not the provider's, or that lacks its weights.

    Raises:
        WeightsError: the message names the file, and what to write.
    """
    if kind == "saliency":
        saliency_settings(folder, provider)
    else:
        cosaliency_settings(folder, provider)
    _check_weights(folder)


def check_start(config: schema.Saliency) -> None:
    """Refuse to start a training from a saliency model whose architecture is another than the settings'.

    Raises:
        WeightsError: something differs; the message names the file, both values, and what to write.
    """
    if config.start_from is None:
        return
    found = architecture_of_start(config.start_from)
    _check_weights(config.start_from)
    if found["provider"] != config.provider:  # the rest belongs to another network
        found = {"provider": found["provider"]}
    wrong = {name: value for name, value in found.items() if _value(config, name) != value}
    if wrong:
        differ = "; ".join(
            f"{name} is {value!r} there and {_value(config, name)!r} here" for name, value in wrong.items()
        )
        right = " ".join(f"--set saliency.{name}={_plain(value)}" for name, value in wrong.items())
        raise WeightsError(
            f"{config.start_from / 'model.json'}: a training cannot start from this model: {differ}; give it the same "
            f"({right}), or name another model in saliency.start_from"
        )


def _check_weights(folder: Path) -> None:
    if not (folder / "model.pt").is_file():
        raise WeightsError(f"{folder / 'model.pt'}: no such file; a model folder holds it beside model.json")


def _trained_with(section: type[Trained], folder: Path, kind: str, provider: str | None) -> Trained:
    """The settings that a model folder keeps, if its network is the provider's."""
    architecture = read_architecture(folder, kind)
    path = folder / "model.json"
    try:
        settings = validated(section, {**architecture["config"], "checkpoint": folder}, path)
    except KeyError as error:
        raise WeightsError(f"{path}: does not say with which settings it was trained") from error
    except ConfigError as error:
        raise WeightsError(f"{error}: the settings it was trained with do not fit this version") from error
    if provider not in (None, settings.provider):
        raise WeightsError(
            f"{path}: is a {settings.provider!r} {kind} network, but the settings ask for {provider!r}: "
            f"set {kind}.provider to {settings.provider}, or name another {kind}.checkpoint"
        )
    return settings


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
