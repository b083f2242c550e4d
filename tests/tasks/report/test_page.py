"""The parts of the report: order, titles, charts, pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tag2mask.tasks.report.charts import Curve, curve_chart, nice_ticks, smoothed, thinned
from tag2mask.tasks.report.gallery import choose_images
from tag2mask.tasks.report.page import duration
from tag2mask.tasks.report.pictures import label_picture, thumbnail_size
from tag2mask.tasks.report.steps import method_order, title_of


def test_choice_of_images() -> None:
    """Worst and best never overlap, unscored images are left out, and without scores the choice is even."""
    ids = [f"p{n}" for n in range(9)]
    scores = {image_id: float(n) for n, image_id in enumerate(ids)}
    assert choose_images(ids, scores, 2) == (("p0", "p1"), ("p8", "p7"))
    assert choose_images(ids[:3], scores, 5) == (("p0", "p1"), ("p2",))
    assert choose_images(ids, {"p4": 0.5}, 3) == (("p4",), ())
    assert choose_images(ids, {}, 2) == ((), ("p0", "p3", "p5", "p8"))
    assert choose_images([], {}, 2) == ((), ())


def test_steps_stand_in_the_order_of_the_method() -> None:
    """Rounds follow each other, and within a round the stages follow the method; evaluations come last."""
    ordered = [
        "train_classifier",
        "infer_cams",
        "train_attention",
        "infer_attention",
        "train_saliency",
        "predict_saliency",
        "mine_objects",
        "train_segmenter_1",
        "predict_masks_1",
        "predict_masks_1_val",
        "refine_masks_1",
        "mask_nonsalient_1",
        "train_segmenter_2",
        "train_segmenter_10",
        "evaluate_cams",
        "evaluate_attention",
        "evaluate_saliency",
        "evaluate_labels_0",
        "evaluate_predictions_1",
        "evaluate_refined_1",
        "evaluate_segmenter_1_val",
        "evaluate_segmenter_1_val_crf",
        "evaluate_labels_1",
        "evaluate_segmenter_2_val",
        "evaluate_labels_10",
    ]
    assert sorted(reversed(ordered), key=method_order) == ordered


def test_rounds_of_self_training_come_before_labels() -> None:
    """The rounds in which saliency is learned without masks lie between the prior and the first labels, one by one."""
    ordered = ["infer_attention", "predict_prior"]
    ordered += [
        f"{stage}_{r}"
        for r in (1, 2)
        for stage in ("make_saliency_pseudo_labels", "train_saliency", "predict_saliency")
    ]
    ordered += ["mine_objects", "train_segmenter_1", "train_segmenter_2"]
    ordered += ["evaluate_cams", "evaluate_prior", "evaluate_saliency_1", "evaluate_labels_0", "evaluate_labels_1"]
    assert sorted(reversed(ordered), key=method_order) == ordered


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("cams", "CAM"),
        ("prior", "prior"),
        ("saliency", "saliency"),
        ("saliency_2", "saliency 2"),
        ("attention", "OA-CAM"),
        ("labels_0", "labels 0"),
        ("refined_2", "prediction 2 + CRF"),
        ("segmenter_2_val_crf", "segmenter 2 + CRF, validation"),
        ("labels", "as told"),
        ("something", "as told"),
    ],
)
def test_titles_of_steps(name: str, title: str) -> None:
    """Steps of the flow have readable titles; others keep the one that they were given."""
    assert title_of(name, "as told") == title


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


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0.4 s"), (61, "1 min 01 s"), (3 * 3600 + 65, "3 h 01 min")])
def test_durations_are_readable(seconds: float, told: str) -> None:
    """Seconds, minutes and hours are told in their own units."""
    assert duration(seconds) == told
