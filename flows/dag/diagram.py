"""The DAG as a diagram in Mermaid's language, which code hosts and Markdown viewers draw."""

from collections.abc import Iterable

from tag2mask.flows.dag.node import Node
from tag2mask.tasks.catalog import CATALOG

NOT_DRAWN = frozenset({"evaluate", "render_report", "measure_labels", "index_masks"})
"""Stages that look at the others: they would be tied to every box."""


def mermaid(nodes: Iterable[Node]) -> str:
    """Draw which stage feeds which; a stage that a run has several times (rounds, splits) is one box.

    Args:
        nodes: of a run, every node after those that it needs.

    Returns:
        A `flowchart` of one line an arrow, in the order of the method; trainings have round ends, and what feeds a
        stage that the run has come past (the next round) is dotted.  The dataset's index, which all stages read, feeds
        only the first ones.
    """
    nodes = [node for node in nodes if node.stage not in NOT_DRAWN]
    stage_of = {node.name: node.stage for node in nodes}
    order = {stage: rank for rank, stage in enumerate(CATALOG)}
    first = {node.stage: rank for rank, node in reversed(list(enumerate(nodes)))}
    boxes = sorted({node.stage for node in nodes}, key=order.__getitem__)
    arrows = {
        (stage_of[source], node.stage): None
        for node in nodes
        for source in node.inputs.values()
        if isinstance(source, str) and source in stage_of
    }
    fed = {target for source, target in arrows if source != boxes[0]}
    shown = [(source, target) for source, target in arrows if source != boxes[0] or target not in fed]
    lines = [f"    {stage}{_shape(stage)}" for stage in boxes]
    for source, target in sorted(shown, key=lambda pair: (order[pair[0]], order[pair[1]])):
        lines.append(f"    {source} {'-->' if first[source] < first[target] else '-.->'} {target}")
    return "\n".join(["flowchart LR", *lines]) + "\n"


def _shape(stage: str) -> str:
    text = stage.replace("_", " ")
    return f"([{text}])" if CATALOG[stage].trains else f"[{text}]"
