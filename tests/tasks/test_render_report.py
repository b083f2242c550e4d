"""The report: complete, self-contained, escaped, and still a page where there are no masks."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from tag2mask.configs.schema import NodeFacts, Report
from tag2mask.tasks import render_report
from tag2mask.tasks.dataset.label_maps import write_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.report.pictures import picture_pixels
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import (
    blocks,
    evaluated,
    maps_of,
    write_class_maps,
    write_dataset,
    write_label_maps,
    write_manifest,
    write_masks,
    write_saliency,
    write_training,
)

CLASSES = ("cat", "<script>alert(1)</script>", 'a"b&c')
VAL = ("p08", "p09")
VOID_ELEMENTS = {"meta", "img", "line", "rect", "circle", "polyline", "br"}


class Checker(HTMLParser):
    """Gathers addresses and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and its addresses."""
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs), f"<{tag}> has a handler"
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which must be this one."""
        if tag not in VOID_ELEMENTS:
            assert self.open.pop() == tag


NODES = {
    "infer_cams": NodeFacts(title="CAM"),
    "evaluate-cams": NodeFacts(title="CAM", measures="infer_cams"),
    "predict_saliency": NodeFacts(title="saliency"),
    "evaluate-saliency": NodeFacts(title="saliency", measures="predict_saliency"),
    "predict_cosaliency": NodeFacts(title="co-saliency"),
    "evaluate-cosaliency": NodeFacts(title="co-saliency", measures="predict_cosaliency"),
    "evaluate-cosaliency_val": NodeFacts(title="co-saliency, validation", split="val", measures="predict_cosaliency"),
    "mine_objects": NodeFacts(title="labels 0"),
    "evaluate-labels_0": NodeFacts(title="labels 0", measures="mine_objects"),
    "train_segmenter-1": NodeFacts(title="segmenter 1", round=1),
    "predict_masks-1": NodeFacts(title="prediction 1", round=1),
    "predict_masks-1-val": NodeFacts(title="segmenter 1", round=1, split="val"),
    "evaluate-segmenter_1_val": NodeFacts(
        title="segmenter 1, validation", round=1, split="val", measures="predict_masks-1-val"
    ),
    "refine_masks-1": NodeFacts(title="prediction 1 + CRF", round=1, crf=True),
    "mask_nonsalient-1": NodeFacts(title="labels 1", round=1),
    "evaluate-labels_1": NodeFacts(title="labels 1", round=1, measures="mask_nonsalient-1"),
    "predict_masks-2-val": NodeFacts(title="segmenter 2", round=2, split="val"),
    "evaluate-segmenter_2_val": NodeFacts(
        title="segmenter 2, validation", round=2, split="val", measures="predict_masks-2-val"
    ),
}
"""What the nodes of the drawn runs are, in the order of the DAG."""


def check_page(path: Path) -> tuple[str, Checker]:
    """Text of a page whose elements are all closed in order."""
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return text, checker


def draw_run(root: Path) -> tuple[Path, Path, dict[str, Path]]:
    """A run of one round on ten images, two of them for validation."""
    masks = blocks(5, 10, 3)
    train = {i: m for i, m in masks.items() if i not in VAL}
    val = {i: masks[i] for i in VAL}
    dataset = write_dataset(root / "data", CLASSES, masks, VAL)
    truth = write_masks(root / "masks", masks, VAL)
    inputs = {
        "train_segmenter-1": write_training(root / "t1", "train_segmenter", [3.0, 2.0, 1.5, float("nan"), 1.0]),
        "infer_cams": write_class_maps(root / "c", "infer_cams", {i: maps_of(m) for i, m in train.items()}),
        "predict_saliency": write_saliency(root / "s", {i: (m > 0) * np.uint8(255) for i, m in train.items()}),
        "mine_objects": write_label_maps(root / "l0", "mine_objects", {i: np.roll(m, 3) for i, m in train.items()}),
        "predict_masks-1": write_label_maps(root / "p1", "predict_masks", {i: np.roll(m, 2) for i, m in train.items()}),
        "refine_masks-1": write_label_maps(root / "r1", "refine_masks", {i: np.roll(m, 1) for i, m in train.items()}),
        "mask_nonsalient-1": write_label_maps(
            root / "l1", "mask_nonsalient", {i: np.roll(m, int(i[1:])) for i, m in train.items()}
        ),
        "predict_masks-2-val": write_label_maps(
            root / "p2v", "predict_masks", {i: np.where(m == 255, 0, m).astype(np.uint8) for i, m in val.items()}
        ),
    }
    for name, subject, kind, split in (
        ("cams", "infer_cams", "class_maps", "train"),
        ("saliency", "predict_saliency", "saliency", "train"),
        ("labels_0", "mine_objects", "training_labels", "train"),
        ("labels_1", "mask_nonsalient-1", "labels", "train"),
        ("segmenter_2_val", "predict_masks-2-val", "predictions", "val"),
    ):
        inputs[f"evaluate-{name}"] = evaluated(root / name, dataset, truth, inputs[subject], kind, split, name)
    return dataset, truth, inputs


def nodes_of(inputs: dict[str, Path]) -> dict[str, NodeFacts]:
    """What the nodes are, as the DAG tells it."""
    return {name: facts for name, facts in NODES.items() if name in inputs}


def render(
    root: Path,
    dataset: Path,
    masks: Path | None,
    inputs: dict[str, Path],
    config: Report,
    *,
    title: str = "tag2mask",
    threads: int = 2,
) -> Path:
    """Render a page; returns its file."""
    arguments: dict[str, Any] = {"title": title, "nodes": nodes_of(inputs), "dataset": dataset, "masks": masks}
    render_report.run(config, root, StageRuntime(threads=threads), **arguments, **inputs)
    return root / "report.html"


def test_the_page_shows_every_step_and_fetches_nothing(tmp_path: Path) -> None:
    """The page holds every figure and picture itself: no script, no link, no address but `data:`."""
    dataset, masks, inputs = draw_run(tmp_path)
    config = Report(images=2, thumbnail=40)
    text, page = check_page(render(tmp_path / "out", dataset, masks, inputs, config, title="my <run>"))
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    assert page.addresses and all(address.startswith("data:image/") for address in page.addresses)
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.tags)
    assert "<h1>my &lt;run&gt;</h1>" in text and "seed 7" in text and "python 3.11" in text
    for title in ("CAM", "labels 0", "labels 1", "segmenter 2, validation", "saliency"):
        assert f"<td>{title}</td>" in text
    for caption in (
        "image",
        "CAM</span> <b>100.0</b>",
        "saliency",
        "labels 0</span> <b>",
        "prediction 1",
        "prediction 1 + CRF",
        "labels 1</span> <b>",
        "truth",
    ):
        assert f"<figcaption><span>{caption}" in text
    assert all(shown in text for shown in ("<h3>segmenter 1</h3>", "train_segmenter-1", "1 min 01 s"))


def test_maps_by_tag_are_shown_beside_single_image_saliency(tmp_path: Path) -> None:
    """Figures of co-saliency stand in the table of saliency, and masks behind two saliency steps are listed once."""
    dataset, masks, inputs = draw_run(tmp_path)
    for image_id, mask in blocks(5, 10, 3).items():
        for number in set(np.unique(mask).tolist()) - {0, 255}:
            write_gray(
                tmp_path / "k" / "cosaliency" / str(number) / f"{image_id}.png", (mask == number) * np.uint8(255)
            )
    write_manifest(tmp_path / "k", "predict_cosaliency")
    inputs["predict_cosaliency"] = tmp_path / "k"
    inputs["predict_saliency_val"] = inputs["predict_saliency"]
    for name, split in (("cosaliency", "train"), ("cosaliency_val", "val")):
        inputs[f"evaluate-{name}"] = evaluated(tmp_path / name, dataset, masks, tmp_path / "k", "cosaliency", split)
    text, _ = check_page(render(tmp_path / "out", dataset, masks, inputs, Report(images=2, thumbnail=32)))
    assert re.search(r"<td>co-saliency</td><td>train</td><td[^>]*>8</td><td[^>]*>0.000</td>", text)
    assert "<td>co-saliency, validation, by the co-saliency protocol</td><td>val</td>" in text
    assert "<td>co-saliency, validation</td><td>val</td>" in text and text.count("Masks behind the saliency maps") == 1


def test_every_tag_has_its_map_in_the_gallery(tmp_path: Path) -> None:
    """An image's row shows the map of each of its tags under the tag's name, and names a tag's map that is lost."""
    dataset, masks, inputs = draw_run(tmp_path)
    drawn = {"p00": {1: 200, 2: 90}}
    inputs["predict_cosaliency"] = tmp_path / "k"
    write_manifest(tmp_path / "k", "predict_cosaliency")
    for image_id, mask in blocks(5, 10, 3).items():
        for number in set(np.unique(mask).tolist()) - {0, 255}:
            value = drawn.get(image_id, {}).get(number, 40 * number)
            if image_id != "p02":
                path = tmp_path / "k" / "cosaliency" / str(number) / f"{image_id}.png"
                write_gray(path, np.full(mask.shape, value, np.uint8))
    text, _ = check_page(render(tmp_path / "out", dataset, masks, inputs, Report(images=12, thumbnail=32)))
    rows = dict(re.findall(r"<header><code>(p\d\d)</code>(.*?)(?=<header>|</section>)", text, re.S))
    tags = {i: sorted(set(np.unique(m).tolist()) - {0, 255}) for i, m in blocks(5, 10, 3).items()}
    assert {len(own) for own in tags.values()} == {1, 2}
    for image_id, own in tags.items():
        cell = re.search(r'<div class="by-tag( several)?">(.*?)<figcaption><span>co-saliency<', rows[image_id], re.S)
        if image_id == "p02":
            assert cell is None and "co-saliency</span> <b>not made</b>" in rows[image_id]
            continue
        assert cell is not None and bool(cell[1]) == (len(own) > 1)
        names = re.findall(r"</span>(.*?)</span>", cell[2])
        assert names == [str(escape(CLASSES[number - 1])) for number in own]
        grays = [picture_pixels(address).mean() for address in re.findall(r'src="(data:[^"]+)"', cell[2])]
        assert grays == pytest.approx([drawn.get(image_id, {}).get(n, 40 * n) for n in own], abs=3)


def test_names_of_classes_are_escaped(tmp_path: Path) -> None:
    """A class named like a script is shown and not run."""
    dataset, masks, inputs = draw_run(tmp_path)
    text, _ = check_page(render(tmp_path / "out", dataset, masks, inputs, Report(images=4, thumbnail=32)))
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "a&#34;b&amp;c" in text


def test_results_are_written_as_tables(tmp_path: Path) -> None:
    """JSON and CSV hold one row an evaluated step, in the order of the method."""
    dataset, masks, inputs = draw_run(tmp_path)
    render(tmp_path / "out", dataset, masks, inputs, Report(images=1, thumbnail=32))
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table.step.tolist() == [
        f"evaluate-{name}" for name in ("cams", "saliency", "labels_0", "labels_1", "segmenter_2_val")
    ]
    assert table.miou.notna().tolist() == [True, False, True, True, True]
    assert table.set_index("step").miou["evaluate-segmenter_2_val"] == 1
    rows = read_json(tmp_path / "out" / "results.json")
    assert [row["step"] for row in rows] == table.step.tolist() and rows[0]["title"] == "CAM"


def test_worst_and_best_images_are_those_of_the_final_labels(tmp_path: Path) -> None:
    """The rows are the images with the lowest and highest mean IoU of the last labels, worst first."""
    dataset, masks, inputs = draw_run(tmp_path)
    text, _ = check_page(render(tmp_path / "out", dataset, masks, inputs, Report(images=2, thumbnail=32)))
    table = pd.read_csv(inputs["evaluate-labels_1"] / "per_image.csv").sort_values(["miou", "image_id"])
    ranked = table.image_id.tolist()
    shown = re.findall(r"<header><code>(p\d\d)</code>", text)
    assert shown[:4] == [ranked[0], ranked[1], ranked[-1], ranked[-2]]
    assert set(shown[4:]) == set(VAL)


def test_without_masks_the_page_shows_pictures_only(tmp_path: Path) -> None:
    """Without masks there are no figures and no truth, but the images still go through every step."""
    dataset, _, inputs = draw_run(tmp_path)
    bare = {name: path for name, path in inputs.items() if not name.startswith("evaluate")}
    text, _ = check_page(render(tmp_path / "out", dataset, None, bare, Report(images=2, thumbnail=32)))
    assert "no ground-truth masks" in text and "<figcaption><span>truth" not in text and "mIoU" not in text
    assert re.findall(r"<header><code>(p\d\d)</code>", text)[:4] == ["p00", "p02", "p05", "p07"]
    assert (tmp_path / "out" / "results.csv").read_text() == "step,title,kind,split,images\n"
    assert read_json(tmp_path / "out" / "results.json") == []


def test_masks_for_validation_alone_still_make_a_page(tmp_path: Path) -> None:
    """Steps of a split without masks stand in the tables without figures, and the page shows the others."""
    masks = blocks(5, 4, 3)
    val = ("p03",)
    dataset = write_dataset(tmp_path / "data", CLASSES, masks, val)
    truth = write_masks(tmp_path / "masks", {"p03": masks["p03"]}, val)
    labels = write_label_maps(tmp_path / "l0", "mine_objects", {i: m for i, m in masks.items() if i not in val})
    scores = write_label_maps(tmp_path / "p", "predict_masks", {"p03": np.zeros_like(masks["p03"])})
    inputs = {
        "mine_objects": labels,
        "predict_masks-1-val": scores,
        "evaluate-labels_0": evaluated(tmp_path / "e0", dataset, truth, labels, "training_labels"),
        "evaluate-segmenter_1_val": evaluated(tmp_path / "e1", dataset, truth, scores, "predictions", "val"),
    }
    text, _ = check_page(render(tmp_path / "out", dataset, truth, inputs, Report(images=2, thumbnail=32)))
    assert "<td>segmenter 1, validation</td>" in text and "<td>labels 0</td>" not in text
    assert pd.read_csv(tmp_path / "out" / "results.csv").images.tolist() == [0, 1]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """Two pages of the same artifacts are equal, whatever the number of threads."""
    dataset, masks, inputs = draw_run(tmp_path)
    config = Report(images=2, thumbnail=32)
    first = render(tmp_path / "first", dataset, masks, inputs, config).read_bytes()
    assert render(tmp_path / "second", dataset, masks, inputs, config, threads=1).read_bytes() == first


def test_the_page_says_which_masks_are_behind_the_saliency(tmp_path: Path) -> None:
    """What the maps' folder says stands on the page in one line, and so does that nobody said it."""
    dataset, truth, inputs = draw_run(tmp_path)
    text, _ = check_page(render(tmp_path / "one", dataset, truth, inputs, Report()))
    assert "nobody has said whether they show target classes" in text
    Provenance("masks of <anything>", "yes", 800).write(inputs["predict_saliency"])
    text, _ = check_page(render(tmp_path / "two", dataset, truth, inputs, Report()))
    assert "masks of &lt;anything&gt; (800 images); they show target classes." in text
