"""A finished run for the tests of the whole DAG, and what changes of its settings are to rebuild."""

from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.engine.session import Session, execute
from tag2mask.tasks.store.store import Store
from tests.flows.toys import Ledger, states

WHERE_ASKED_FOR = {
    "index_corrections",
    "apply_corrections",
    "deliver_round",
    "fuse_labels",
    "refine_cams",
    "index_test",
    "predict_prior",
    "make_saliency_pseudo_labels",
    "train_cosaliency",
    "predict_cosaliency",
}
"""Stages that the small run's settings do without."""
AFTER_MINING = {
    "mine_objects",
    "evaluate-labels_0",
    "train_segmenter-1",
    "predict_masks-1-val",
    "refine_masks-1-val",
    "evaluate-segmenter_1_val",
    "evaluate-segmenter_1_val_crf",
    "predict_masks-1",
    "refine_masks-1",
    "evaluate-predictions_1",
    "evaluate-refined_1",
    "mask_nonsalient-1",
    "evaluate-labels_1",
    "measure_labels-1",
    "measure_confidence-1",
    "evaluate-confidence",
    "train_segmenter-2",
    "predict_masks-2-val",
    "refine_masks-2-val",
    "evaluate-segmenter_2_val",
    "evaluate-segmenter_2_val_crf",
    "render_report",
}
"""All that depends on the initial labels."""
CERTAIN_TO_CHANGE = {
    "mine_objects",
    "evaluate-labels_0",
    "train_segmenter-1",
    "predict_masks-1",
    "predict_masks-1-val",
    "refine_masks-1",
    "refine_masks-1-val",
    "mask_nonsalient-1",
    "evaluate-predictions_1",
    "evaluate-segmenter_1_val",
    "render_report",
}
"""Those of them whose inputs have other bytes once a label has; of the others a few steps may decide either way."""


@dataclass(frozen=True)
class Finished:
    """A run over all stages that is finished, and where it lies."""

    folder: Path
    result: RunResult
    said: str

    @property
    def root(self) -> Path:
        """The artifact store."""
        return self.folder / "artifacts"

    def artifact(self, node: str) -> Path:
        """Folder of a node's artifact."""
        return self.result.outcomes[node].artifact.path


def dag(data: Path, *changes: str) -> tuple[Node, ...]:
    """The nodes of the small run on a dataset, by the settings beside it."""
    roots = (f"dataset.root={data}", f"saliency_set.root={data / 'saliency'}")
    return build_dag(load_config(data.parent / "small.yaml", [*roots, *changes]))


def run(nodes: tuple[Node, ...], root: Path) -> RunResult:
    """Run nodes in children, two cores wide."""
    return execute(
        Session(nodes, Store(root), Runtime(root=root, device="cpu", precision="float32", cores=2), Ledger())
    )


def built(result: RunResult) -> set[str]:
    """Nodes that were not cached."""
    return {name for name, state in states(result).items() if state == "built"}
