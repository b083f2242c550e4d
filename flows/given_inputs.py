"""What a run reads and did not make, looked at before its first stage: a missing file costs no hours of work."""

from collections.abc import Sequence
from pathlib import Path

from tag2mask.configs.schema import Config
from tag2mask.flows.node import Node
from tag2mask.flows.resolve import MissingInput, setting_of
from tag2mask.tasks.common.model_folders import check_checkpoint, check_start


def check_given(config: Config, nodes: Sequence[Node]) -> None:
    """Refuse files that do not exist, and models that their stage cannot use.

    Args:
        config: the settings.
        nodes: those that the run needs.

    Raises:
        MissingInput: raw files or folders do not exist; a line for each, with its setting.
        WeightsError: a model is of another kind, network or architecture; the message says what to write.
    """
    missing = {
        f"{setting_of(node, name)}: {source} does not exist": None
        for node in nodes
        for name, source in node.inputs.items()
        if isinstance(source, Path) and not source.exists()
    }
    if missing:
        raise MissingInput("\n".join(missing))
    for node in nodes:
        if node.stage == "train_saliency" and "start" in node.inputs:
            check_start(config.saliency)
        model = node.inputs.get("model")
        if not isinstance(model, Path):  # trained in this run
            continue
        if node.stage == "predict_cosaliency":
            check_checkpoint(model, "cosaliency", config.cosaliency.provider)
        else:
            check_checkpoint(model, "saliency", config.saliency.provider)
