"""The parts of the report: order, titles, charts, pictures."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.flows.dag.build import build_dag
from tag2mask.tasks.report.charts import Curve, curve_chart, nice_ticks, smoothed, thinned
from tag2mask.tasks.report.gallery import choose_images
from tag2mask.tasks.report.page import duration
from tag2mask.tasks.report.pictures import label_picture, thumbnail_size
from tag2mask.tasks.report.steps import read_steps
from tests.flows.published_way import published
from tests.tasks.drawn_run import write_manifest


def test_choice_of_images() -> None:
    """Worst and best never overlap, unscored images are left out, and without scores the choice is even."""
    ids = [f"p{n}" for n in range(9)]
    scores = {image_id: float(n) for n, image_id in enumerate(ids)}
    assert choose_images(ids, scores, 2) == (("p0", "p1"), ("p8", "p7"))
    assert choose_images(ids[:3], scores, 5) == (("p0", "p1"), ("p2",))
    assert choose_images(ids, {"p4": 0.5}, 3) == (("p4",), ())
    assert choose_images(ids, {}, 2) == ((), ("p0", "p3", "p5", "p8"))
    assert choose_images([], {}, 2) == ((), ())


def test_steps_stand_in_the_order_of_the_dag(tmp_path: Path) -> None:
    """What a report shows stands as in the DAG, evaluations behind the rest, and what the DAG does not name first."""
    nodes = build_dag(published("rounds=2", "saliency.targets=prior"))
    shown = {node.name: node.facts for node in nodes if node.name != "render_report"}
    inputs = {}
    for node in reversed(nodes):
        if node.name in shown:
            inputs[node.name] = tmp_path / node.name
            write_manifest(inputs[node.name], node.stage)
    del shown["index_dataset"]
    order = [step.name for step in read_steps(inputs, shown)]
    stages = [node.name for node in nodes if node.stage not in ("evaluate", "render_report")]
    assert order == stages + [node.name for node in nodes if node.stage == "evaluate"]


def test_titles_say_round_split_and_crf() -> None:
    """People read round, split and CRF in the title of a node and of what measures it."""
    nodes = build_dag(published("rounds=2"))
    titles = {node.name: node.facts.title for node in nodes}
    assert titles["infer_cams"] == "CAM" and titles["evaluate-attention"] == "OA-CAM"
    assert titles["mask_nonsalient-2"] == titles["evaluate-labels_2"] == "labels 2"
    assert titles["refine_masks-2"] == titles["evaluate-refined_2"] == "prediction 2 + CRF"
    assert titles["evaluate-segmenter_3_val_crf"] == "segmenter 3 + CRF, validation"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.037), (3, 3), (1, 20_000), (-2, 5), (0, 1e-9)])
def test_ticks_are_even_and_cover_the_range(low: float, high: float) -> None:
    """Ticks start at or below the lowest and end at or above the highest number, in equal steps."""
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_curves_are_thinned_and_smoothed_without_shifting_their_level() -> None:
    """A straight line stays itself when smoothed, thinning keeps the mean, and a constant can be drawn."""
    line = Curve("loss", np.arange(1000.0), np.arange(1000.0))
    assert np.allclose(smoothed(line).y[50:-50], line.y[50:-50])
    assert thinned(line, 100).y.mean() == pytest.approx(line.y.mean()) and len(thinned(line, 100).x) == 100
    flat = Curve("loss", np.array([1.0]), np.array([0.0]))
    assert "nan" not in curve_chart([smoothed(flat)], "step", "loss", raw=flat)


def test_ignored_pixels_look_unlike_any_class() -> None:
    """Ignored pixels are striped, background is light, and classes have the colors of VOC."""
    labels = np.repeat(np.array([[0, 1, 255]], np.uint8), 8, axis=1).repeat(8, axis=0)
    picture = label_picture(labels, (8, 24))
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))).convert("RGB"))
    assert (pixels[:, :8] == 236).all() and (pixels[:, 8:16] == (128, 0, 0)).all()
    assert {tuple(p) for p in pixels[:, 16:].reshape(-1, 3).tolist()} == {(255, 255, 255), (150, 150, 150)}


def test_thumbnails_keep_their_proportions_and_are_never_enlarged() -> None:
    """The long side is brought to the asked length, and small images keep their size."""
    assert thumbnail_size((300, 600), 160) == (80, 160)
    assert thumbnail_size((20, 10), 160) == (20, 10)
    assert thumbnail_size((5000, 1), 100) == (100, 1)


@pytest.mark.parametrize(("seconds", "reported"), [(0.4, "0.4 s"), (61, "1 min 01 s"), (3 * 3600 + 65, "3 h 01 min")])
def test_durations_are_readable(seconds: float, reported: str) -> None:
    """Seconds, minutes and hours are reported in their own units."""
    assert duration(seconds) == reported
