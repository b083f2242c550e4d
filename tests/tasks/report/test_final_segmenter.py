"""Which segmenter's figures stand at the head of a report."""

from pathlib import Path

from tag2mask.configs.schema import NodeFacts
from tag2mask.tasks.render_report import delivered_segmenter, final_evaluation
from tag2mask.tasks.report.steps import Evaluated, Step


def test_the_final_segmenter_is_the_one_that_is_delivered() -> None:
    """Of the segmenters of two rounds the page shows the figures of the one that is delivered, else the last."""
    facts = [NodeFacts(title=f"segmenter {number}", round=number, split="val") for number in (1, 2)]
    scores = {"split": "val", "kind": "predictions", "summary": {"miou": 0.5}}
    both = [Evaluated(fact.title, fact, scores, {}) for fact in facts]
    recipe = {"stage": "deliver_round", "config": {}}
    for chosen, number in (([], 2), ([0], 1), ([1], 2)):
        manifests = [{"recipe": recipe, "metrics": {"delivered_round": one}} for one in chosen]
        steps = [Step("deliver_round", Path(), manifest, NodeFacts(title="delivered")) for manifest in manifests]
        final = final_evaluation(both, "val", delivered_segmenter(steps))
        assert final is both[number - 1]
