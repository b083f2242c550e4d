"""What a run reads and did not make, looked at before its first stage: a missing file costs no hours of work."""

from collections.abc import Sequence
from pathlib import Path

from tag2mask.configs.schema import Backbone, Config, Cosaliency
from tag2mask.configs.sections.networks import PACKAGED
from tag2mask.flows.dag.errors import MissingInput
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.resolve import absence, setting_of
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.networks.model_folder import WeightsError, check_checkpoint, check_start
from tag2mask.tasks.networks.packaged_weights import packaged_weights
from tag2mask.tasks.networks.weights_file import check_weights_file


def check_given(config: Config, nodes: Sequence[Node]) -> None:
    """Refuse files that do not exist, backbones that cannot be had, and models that their stage cannot use.

    Args:
        config: the settings.
        nodes: those that the run needs.

    Raises:
        MissingInput: raw files or folders do not exist; a line for each, with its setting.  Or a folder of groups is
            not complete.
        WeightsError: a backbone or its packaged weights cannot be had, or a model is of another kind, network or
            architecture; the message says what to write.
    """
    given = [(node, name, path) for node in nodes for name, path in node.inputs.items() if isinstance(path, Path)]
    missing = {
        f"{setting_of(node, name)}: {fault}": None for node, name, path in given if (fault := absence(name, path))
    }
    if missing:
        raise MissingInput("\n".join(missing))
    for node in nodes:
        _check_backbone(node)
        if node.stage == "train_saliency" and "start" in node.inputs:
            check_start(config.saliency)
        if node.stage == "train_cosaliency" and config.cosaliency.training_set is not None:
            _check_groups(config.cosaliency.training_set, config.cosaliency)
        model = node.inputs.get("model")
        if not isinstance(model, Path):  # trained in this run
            continue
        if node.stage == "predict_cosaliency":
            check_checkpoint(model, "cosaliency", config.cosaliency.provider)
        else:
            check_checkpoint(model, "saliency", config.saliency.provider)
    for path in {path for _, name, path in given if name == "weights"}:
        check_weights_file(path)
    for folder in {path for _, name, path in given if name in ("model", "start")}:
        check_weights_file(folder / "model.pt")


def _check_backbone(node: Node) -> None:
    """Refuse a backbone or packaged weights that a training would ask for in vain."""
    backbone = getattr(node.config, "backbone", None)
    if not isinstance(backbone, Backbone):
        return
    setting = f"{CATALOG[node.stage].section}.backbone"
    try:
        if backbone.weights == "packaged":
            packaged_weights(backbone.name)
        if not backbone.is_torchvision and backbone.name not in PACKAGED:
            from tag2mask.tasks.networks.factory import check_backbone  # loads torch and timm: seconds

            check_backbone(backbone)
    except ValueError as error:
        raise WeightsError(f"{setting}: {error}") from error


def _check_groups(folder: Path, config: Cosaliency) -> None:
    """Refuse a folder of groups that lacks masks or maps."""
    from tag2mask.tasks.dataset.ingest import BadDataset
    from tag2mask.tasks.groups.sources import masked_source  # reads images, which other runs have no need of

    try:
        masked_source(folder, config)
    except (BadDataset, FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(f"cosaliency.training_set: {error}") from error
