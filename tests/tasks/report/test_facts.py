"""What stands at the head of a report: which segmenter's figures, and what people corrected."""

from pathlib import Path

from tag2mask.configs.schema import NodeFacts
from tag2mask.tasks.render_report import _corrected, delivered_segmenter, final_evaluation
from tag2mask.tasks.report.steps import Evaluated, Step
from tag2mask.tasks.store.files import write_json


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


def test_corrections_are_told(tmp_path: Path) -> None:
    """Where people corrected masks the page says how many; where there is no folder of corrections, nothing."""
    write_json(tmp_path / "metrics.json", {"corrected": 37, "images": 490})
    (note,) = _corrected(tmp_path)
    assert "37 of 490 training images are corrected by hand" in note and _corrected(None) == []
