"""The confidence of labels on the page of results."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tag2mask.configs.schema import NodeFacts, Report
from tag2mask.tasks import render_report
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import blocks, evaluated, write_label_maps, write_manifest
from tests.tasks.test_render_report import CLASSES, NODES, VAL, check_page, draw_run


def test_a_page_shows_the_confidence_beside_the_masks(tmp_path: Path) -> None:
    """The page gives the calibration error of all labels and of each class, and takes it for no saliency."""
    dataset, masks, inputs = draw_run(tmp_path)
    drawn = {i: mask for i, mask in blocks(5, 10, 3).items() if i not in VAL}
    tags = [(i, n) for i, mask in drawn.items() for n in sorted(set(np.unique(mask).tolist()) - {0, 255})]
    rated = [{"image_id": i, "class": CLASSES[n - 1], "pixels": 9, "confidence": 0.75} for i, n in tags]
    figures = dict.fromkeys(("probability", "saliency", "cam", "prediction", "crf"), 0.5)
    (tmp_path / "rated").mkdir()
    pd.DataFrame([row | figures for row in rated]).to_csv(tmp_path / "rated" / "confidence.csv", index=False)
    write_manifest(tmp_path / "rated", "measure_confidence")
    truth = write_label_maps(tmp_path / "truth", "mine_objects", drawn)
    inputs["measure_confidence-1"] = tmp_path / "rated"
    inputs["evaluate-confidence"] = evaluated(
        tmp_path / "e", dataset, masks, tmp_path / "rated", "confidence", labels=truth
    )
    nodes = NODES | {
        "measure_confidence-1": NodeFacts(title="confidence", round=1),
        "evaluate-confidence": NodeFacts(title="confidence", round=1, measures="measure_confidence-1"),
    }
    given: dict[str, Any] = {"dataset": dataset, "masks": masks, **inputs}
    shown = {name: facts for name, facts in nodes.items() if name in inputs}
    render_report.run(
        Report(images=1, thumbnail=32), tmp_path / "out", StageRuntime(), title="confidence", nodes=shown, **given
    )
    text, _ = check_page(tmp_path / "out" / "report.html")
    assert f"{len(tags)} labels of 8 images have a mean confidence of 0.75 and a mean IoU of 1.00" in text
    assert "the expected calibration error is 0.250, and 0.000 when calibrated by other images" in text
    assert "<td>confidence</td><td>train</td>" not in text and "IoU by confidence" in text
    assert (
        pd.read_csv(tmp_path / "out" / "results.csv").set_index("step").calibration_error["evaluate-confidence"] == 0.25
    )
