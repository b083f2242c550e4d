"""Signals of a label set that need no masks."""

import numpy as np
import pytest

from tag2mask.tasks.metrics.label_quality import (
    ImageSignals,
    class_rows,
    foreground_iou,
    image_rows,
    measure_image,
    summarize,
)

CLASSES = ("ant", "bee", "cow")


def image(labels: list[list[int]], tags: tuple[int, ...], **foregrounds: list[list[int]]) -> ImageSignals:
    """Signals of a label map given row by row."""
    regions = {name: np.array(rows, bool) for name, rows in foregrounds.items()}
    return measure_image("a", np.array(labels, np.uint8), tags, regions)


def test_coverage_counts_pairs_of_image_and_tag() -> None:
    """A tag that no pixel carries is missing, also where the whole map is ignored."""
    images = [image([[0, 1], [2, 255]], (1, 2)), image([[0, 0], [0, 3]], (1, 3)), image([[255, 255]], (2,))]
    summary = summarize(images, CLASSES)
    assert [one.missing for one in images] == [(), (1,), (2,)]
    assert summary["missing_tags"] == pytest.approx(2 / 5)
    assert summary["wholly_ignored"] == summary["without_foreground"] == pytest.approx(1 / 3)
    assert summary["ignored_share"] == pytest.approx(3 / 10)
    assert [row["missing_tags"] for row in image_rows(images, CLASSES)] == ["", "ant", "bee"]


def test_untagged_is_foreground_of_a_class_that_the_image_does_not_show() -> None:
    """Pixels of a class outside of the tags are counted against all foreground."""
    summary = summarize([image([[1, 1], [2, 0]], (1,)), image([[3, 0]], (3,))], CLASSES)
    assert summary["untagged"] == pytest.approx(1 / 4)


def test_balance_is_perfect_where_pixels_are_spread_as_tags() -> None:
    """Pixels in proportion to the tags give a ratio of 1 and no divergence."""
    summary = summarize([image([[1, 2]], (1, 2)), image([[1, 2]], (1, 2))], CLASSES)
    assert summary["class_ratio"] == pytest.approx(1)
    assert summary["class_divergence"] == pytest.approx(0)


def test_balance_sees_a_rare_class_vanish_and_a_common_one_swallow_the_rest() -> None:
    """The smallest ratio falls to zero with one class, the divergence is the share that would have to change."""
    images = [image([[1] * 9 + [2]], (1, 2)), image([[1] * 10], (1, 3))]
    summary = summarize(images, CLASSES)
    rows = {row["class"]: row for row in class_rows(images, CLASSES)}
    assert summary["class_ratio"] == 0 and rows["cow"]["ratio"] == 0 and rows["cow"]["images_without_pixel"] == 1
    assert rows["ant"]["ratio"] == pytest.approx((19 / 20) / (2 / 4))
    assert summary["class_divergence"] == pytest.approx((1 / 4 - 1 / 20) + 1 / 4)


def test_a_set_without_foreground_is_the_worst_there_is() -> None:
    """Without a foreground pixel the ratio is 0 and the divergence 1, so that no gate lets it pass as unmeasured."""
    summary = summarize([image([[0, 0]], (1,)), image([[255, 255]], (2,))], CLASSES)
    assert (summary["class_ratio"], summary["class_divergence"], summary["missing_tags"]) == (0, 1, 1)
    assert summary["untagged"] is None


def test_agreement_leaves_ignored_pixels_out_and_compares_every_pair() -> None:
    """Labels are compared where they are labeled, the other evidences everywhere."""
    one = image([[1, 1, 0, 255]], (1,), cam=[[1, 0, 0, 1]], saliency=[[1, 1, 1, 1]])
    assert one.agreement == {"labels_cam": 1 / 2, "labels_saliency": 2 / 3, "cam_saliency": 2 / 4}
    ignored = image([[255, 255]], (1,), cam=[[1, 1]])
    assert ignored.agreement == {"labels_cam": None}
    assert summarize([one, ignored], CLASSES)["agreement_labels_cam"] == 1 / 2


def test_two_empty_foregrounds_agree_on_nothing() -> None:
    """The IoU of two empty regions has no meaning, and one of an empty and a full region is 0."""
    empty, full = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    assert foreground_iou(empty, empty) is None
    assert foreground_iou(empty, full) == 0


def test_a_foreground_of_another_size_is_refused() -> None:
    """The message names the evidence and both shapes."""
    with pytest.raises(ValueError, match=r"cam has shape \(1, 3\), the labels \(1, 2\)"):
        image([[0, 1]], (1,), cam=[[0, 1, 1]])


def test_summary_is_that_of_a_slow_count() -> None:
    """On random maps the sums equal a count pixel by pixel."""
    rng = np.random.default_rng(5)
    maps = [rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (5, 7)) for _ in range(4)]
    tags = [(1,), (2, 3), (1, 3), (2,)]
    images = [measure_image(str(n), m, t, {}) for n, (m, t) in enumerate(zip(maps, tags, strict=True))]
    pixels = [(value, t) for m, t in zip(maps, tags, strict=True) for value in m.ravel().tolist()]
    foreground = [(value, t) for value, t in pixels if value not in (0, 255)]
    summary = summarize(images, CLASSES)
    assert summary["ignored_share"] == pytest.approx(sum(v == 255 for v, _ in pixels) / len(pixels))
    assert summary["untagged"] == pytest.approx(sum(v not in t for v, t in foreground) / len(foreground))
