"""The diagram of the DAG."""

from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.diagram import NOT_DRAWN, mermaid
from tests.flows.published_way import published


def test_every_stage_of_a_run_is_a_box_and_the_next_round_is_dotted() -> None:
    """Each stage is drawn once however often it runs, trainings with round ends, and the next round's arrow dotted."""
    nodes = build_dag(published("rounds=3"))
    lines = [line.strip() for line in mermaid(nodes).splitlines()]
    boxes = [line for line in lines if "-->" not in line and "-.->" not in line][1:]
    assert len(boxes) == len({node.stage for node in nodes} - NOT_DRAWN)
    assert "train_segmenter([train segmenter])" in boxes and "refine_masks[refine masks]" in boxes
    again = {"mask_nonsalient -.-> train_segmenter", "mask_nonsalient -.-> mask_nonsalient"}
    assert {line for line in lines if "-.->" in line} == again
    assert len(lines) == len(set(lines))


def test_the_index_feeds_only_what_nothing_else_feeds() -> None:
    """Every stage reads the index: its arrows are left out where another stage comes before."""
    lines = mermaid(build_dag(published())).splitlines()
    assert [line.split()[-1] for line in lines if line.strip().startswith("index_dataset -->")] == ["train_classifier"]


def test_saliency_from_which_class_maps_learn_is_no_next_round() -> None:
    """Saliency that a training of class maps reads is made in the same round: its arrow is not dotted."""
    lines = [line.strip() for line in mermaid(build_dag(published("attention.saliency_weight=1"))).splitlines()]
    assert "predict_saliency --> train_attention" in lines
