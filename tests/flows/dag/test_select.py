"""Which nodes a stage, a beginning and an end choose."""

import pytest

from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.errors import UnknownNode
from tag2mask.flows.dag.node import named, select
from tests.flows.dag.demo_dags import demo, names


def test_select_takes_a_stage_or_what_lies_before_or_behind() -> None:
    """`only` is the named stage, `since` all that comes out of it, `until` all that leads to it."""
    nodes = build_dag(demo())

    def chosen(**limits: str) -> set[str]:
        return {node.name for node in select(nodes, **limits)}

    assert chosen(only="infer_cams") == {"infer_cams"}
    assert chosen(only="refine_masks") == {name for name in names(demo()) if name.startswith("refine_masks")}
    assert {"mine_objects", "render_report", "train_segmenter-1"} <= chosen(since="mine_objects")
    assert not chosen(since="mine_objects") & {"infer_cams", "predict_saliency", "evaluate-cams"}
    assert chosen(until="infer_cams") == {
        "index_dataset",
        "index_masks",
        "index_saliency_set",
        "train_classifier",
        "infer_cams",
    }
    assert chosen(since="train_classifier", until="infer_cams") == {"train_classifier", "infer_cams"}


def test_unknown_stage_is_refused_with_those_there_are() -> None:
    """The message lists the nodes of the run."""
    with pytest.raises(UnknownNode, match="no stage 'mine' in this run; it has: index_dataset, .*mine_objects"):
        named(build_dag(demo()), "mine")
