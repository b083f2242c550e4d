"""The loop with people on a small run: give out, correct, take back, run again."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.flows.cli.main import app
from tag2mask.flows.dag.record import RunRecord, latest, note_in_record
from tag2mask.flows.init import packaged
from tag2mask.flows.people.reviewing import corrected_images, review
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tests.small_run import SmallRun


def reported(run: SmallRun, *arguments: str) -> str:
    """Output of a command that ends well."""
    ran = CliRunner().invoke(app, [*arguments, "--root", str(run.root)], env={"COLUMNS": "300"})
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    return ran.output


def test_a_record_of_another_version_is_named(tmp_path: Path) -> None:
    """Settings with a key that has since gone are refused in one line, with the record that holds them."""
    path = tmp_path / ".runs" / "old" / "000001-20260101T000000.000000Z.json"
    settings = load_config(packaged("demo.yaml")).model_dump(mode="json")
    note_in_record(RunRecord(path, {}), config={**settings, "purificatory": 1}, nodes={})
    with pytest.raises(ConfigError, match=f"^{path}: unknown key 'purificatory'; the nearest known one is"):
        review(tmp_path, "old", 3, "folder", tmp_path / "out")


def test_what_was_taken_back_since_the_last_run_is_not_given_out_again(tmp_path: Path) -> None:
    """Corrected are the images of the labels' table and those of the folder of corrections, each once."""
    labels, folder = tmp_path / "labels", tmp_path / "corrections"
    assert corrected_images(labels, folder) == []
    for place, ids in ((labels, "ab"), (folder, "bc")):
        place.mkdir()
        (place / "corrections.csv").write_text("image_id,source\n" + "".join(f"{one},PNG\n" for one in ids))
    assert corrected_images(labels, folder) == ["a", "b", "c"]


@pytest.mark.slow
def test_corrections_stand_in_the_next_run(small_run: SmallRun, tmp_path: Path) -> None:
    """The least certain images are given out, what comes back stands in every round and is not measured."""
    run, out = small_run.copied(tmp_path / "run"), tmp_path / "review"
    said = reported(run, "review", "small", "--count", "3", "--out", str(out))
    about = json.loads((out / "review.json").read_text())
    ids = list(about["images"])
    assert f"small: 3 of 10 images written to {out} (folder), the least certain first" in said and len(ids) == 3
    rows = list(csv.DictReader((out / "confidence.csv").open()))
    assert set(ids) == {row["image_id"] for row in rows} and about["run"] == "small"
    before = {image_id: read_labels(out / "prelabels" / f"{image_id}.png") for image_id in ids[:2]}
    corrected = {image_id: np.roll(mask, 5, axis=1) for image_id, mask in before.items()}
    for image_id, mask in corrected.items():
        write_labels(out / "corrected" / f"{image_id}.png", mask)
    said = reported(run, "corrections", str(out), "--into", str(run.data / "corrections"))
    assert said.startswith("2 masks corrected with PNG taken into")
    change = ["--set", "dataset.corrections=corrections", "--engine", "local", "--until", "evaluate-labels_1"]
    reported(run, "run", str(run.folder / "small.yaml"), *change)
    record = latest(run.root, "small")
    assert record is not None and not record.whole
    assert "images written" in reported(run, "review", "small", "--count", "3", "--out", str(tmp_path / "again"))
    for node in ("apply_corrections-0", "apply_corrections-1"):
        for image_id, mask in corrected.items():
            assert np.array_equal(read_labels(run.root / record.labels[node] / f"{image_id}.png"), mask)
    cached = {name for name, node in record.nodes.items() if node["state"] == "cached"}
    assert {"index_dataset", "train_classifier", "infer_cams", "train_saliency", "predict_saliency"} <= cached
    assert not {"train_segmenter-1", "predict_masks-1"} & cached
    scores = json.loads((run.root / record.labels["evaluate-labels_1"] / "scores.json").read_text())
    assert scores["images"] == 8
    assert "corrected 2" in reported(run, "why", record.labels["apply_corrections-1"]).replace("│", " ").replace(
        ":", ""
    )
