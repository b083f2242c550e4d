"""Masks of a folder of images: those of the stages, resumed, with what cannot be predicted named."""

import csv
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.schema import MaskPrediction, Refinement
from tag2mask.tasks import predict_masks, refine_masks
from tag2mask.tasks.dataset.arrays import read_scores
from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.dataset.whole_folder import FolderInTheWay
from tag2mask.tasks.prediction.image_files import NoImages, images_named
from tag2mask.tasks.prediction.predicted_folder import Extras, predict_folder
from tag2mask.tasks.prediction.request import OtherRequest
from tag2mask.tasks.prediction.trained_segmenter import TrainedSegmenter
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.locks import StoreNotWritable
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of, save_image, truncate
from tests.tasks.drawn_run import write_dataset
from tests.tasks.drawn_segmenter import write_segmenter
from tests.tasks.interruption import Interrupted, interrupted_after
from tests.tasks.small_stages import CLASSES

pytestmark = pytest.mark.usefixtures("one_thread")
PREDICTION = MaskPrediction(image_size=72, flip=True, scales=(1.0, 1.25), batch_size=2)
SIZES = {"a": (40, 60), "b": (60, 40), "c": (40, 60), "d": (80, 120), "e": (66, 66)}


@pytest.fixture(scope="module")
def segmenter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return write_segmenter(tmp_path_factory.mktemp("segmenter"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images of four sizes; two of them differ only in size at the network's."""
    for seed, (image_id, size) in enumerate(SIZES.items()):
        save_image(tmp_path / "photos" / f"{image_id}.png", seed, size)
    return tmp_path / "photos"


def predicted(
    model: Path, photos: Path, out: Path, *, crf: Refinement | None = None, extras: Extras | None = None, **runtime: Any
) -> dict[str, str]:
    """Predict a folder; what was set aside."""
    segmenter = TrainedSegmenter.load(model, prediction=PREDICTION, refinement=crf)
    resources = runtime.pop("resources", None) or StageRuntime(workers=2, shard=4)
    request = {"model": "m", "crf": crf and crf.model_dump(mode="json")}
    return predict_folder(segmenter, images_named([str(photos)]), out, request, extras or Extras(), resources).set_aside


def rows(out: Path) -> dict[str, dict[str, str]]:
    """The table by image id."""
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("crf", [None, Refinement(iterations=2)], ids=["plain", "crf"])
def test_masks_are_those_of_the_stages(
    tmp_path: Path, segmenter_folder: Path, photos: Path, crf: Refinement | None
) -> None:
    """Each image gets the mask that predict_masks and refine_masks give it, and the table says what it shows."""
    images = {image_id: np.zeros(size, np.uint8) for image_id, size in SIZES.items()}
    dataset = write_dataset(tmp_path / "dataset", CLASSES, images, val=tuple(images))
    for image_id in images:
        (dataset / "images" / f"{image_id}.png").write_bytes((photos / f"{image_id}.png").read_bytes())
    given = {"dataset": dataset, "model": segmenter_folder}
    predict_masks.run(PREDICTION, tmp_path / "stage", StageRuntime(), split="val", **given)
    expected = tmp_path / "stage" / "labels"
    if crf is not None:
        expected = tmp_path / "refined"
        refine_masks.run(crf, expected, StageRuntime(), dataset=dataset, scores=tmp_path / "stage")
    assert predicted(segmenter_folder, photos, tmp_path / "out", crf=crf) == {}
    shown = set()
    for image_id, row in rows(tmp_path / "out").items():
        labels = read_labels(tmp_path / "out" / "masks" / f"{image_id}.png")
        assert np.mean(labels != read_labels(expected / f"{image_id}.png")) < 0.002  # batches round differently
        scores, numbers = read_scores(tmp_path / "stage" / "scores" / f"{image_id}.npz", SIZES[image_id])
        full = np.zeros((4, *SIZES[image_id]), np.float32)
        full[numbers] = scores
        confidence = np.mean([[full[labels[y, x], y, x] for x in range(labels.shape[1])] for y in range(len(labels))])
        assert float(row["confidence"]) == pytest.approx(confidence, abs=0.005)
        shares = {CLASSES[n - 1]: np.mean(labels == n) for n in np.unique(labels).tolist() if n}
        reported = dict(zip(row["classes"].split(), map(float, row["shares"].split()), strict=True))
        assert reported == pytest.approx(shares, abs=1e-4) and list(reported.values()) == sorted(
            reported.values(), reverse=True
        )
        shown |= reported.keys()
    assert len(rows(tmp_path / "out")) == 5 and len(shown) >= 2


@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_a_killed_prediction_goes_on_to_the_same_bytes(
    tmp_path: Path, segmenter_folder: Path, photos: Path, stop: int
) -> None:
    """Masks, overlays and tables are the same bytes wherever an earlier attempt ended, and finished ones stay."""
    extras = Extras(overlays=True, probabilities=True)
    predicted(segmenter_folder, photos, tmp_path / "whole", extras=extras)
    with pytest.raises(Interrupted):
        predicted(
            segmenter_folder, photos, tmp_path / "parts", extras=extras, resources=interrupted_after(stop, shard=2)
        )
    counts: list[int] = []
    resumed = StageRuntime(shard=2, report=lambda done, total, note: counts.append(done))
    predicted(segmenter_folder, photos, tmp_path / "parts", extras=extras, resources=resumed)
    assert stop - 2 < counts[0] <= stop and counts[-1] == 5
    whole, parts = files_of(tmp_path / "whole"), files_of(tmp_path / "parts")
    assert whole.keys() == parts.keys() and len(whole) == 5 * 3 + 4
    assert [name for name in whole if whole[name] != parts[name] and name[-4:] != ".npz"] == []
    assert read_rgb(tmp_path / "whole" / "overlays" / "b.jpg").shape == (60, 40, 3)


def test_what_cannot_be_predicted_is_set_aside_until_it_is_mended(
    tmp_path: Path, segmenter_folder: Path, photos: Path
) -> None:
    """Damaged and empty images are listed with the reason, the others predicted, and a mended one next time."""
    truncate(photos / "b.png")
    (photos / "d.png").write_bytes(b"")
    Image.new("RGB", (900, 1)).save(photos / "thin.png")
    aside = predicted(segmenter_folder, photos, tmp_path / "out")
    assert "cut short" in aside[str(photos / "b.png")] and "0 bytes" in aside[str(photos / "d.png")]
    assert sorted(rows(tmp_path / "out")) == ["a", "c", "e", "thin"]
    assert read_labels(tmp_path / "out" / "masks" / "thin.png").shape == (1, 900)
    listed = (tmp_path / "out" / "set_aside.csv").read_text()
    assert all(f"{name}.png" in listed for name in ("b", "d"))
    save_image(photos / "b.png", 9, (40, 60))
    assert len(predicted(segmenter_folder, photos, tmp_path / "out")) == 1
    assert sorted(rows(tmp_path / "out")) == ["a", "b", "c", "e", "thin"]


def test_a_changed_image_gets_a_new_mask(tmp_path: Path, segmenter_folder: Path, photos: Path) -> None:
    """An image that has changed since is predicted anew, and the others are not touched."""
    predicted(segmenter_folder, photos, tmp_path / "out")
    masks = tmp_path / "out" / "masks"
    times = {path.stem: path.stat().st_mtime_ns for path in masks.iterdir()}
    save_image(photos / "c.png", 99, (50, 44))
    predicted(segmenter_folder, photos, tmp_path / "out")
    assert read_labels(masks / "c.png").shape == (50, 44) and rows(tmp_path / "out")["c"]["height"] == "50"
    assert {i for i, then in times.items() if (masks / f"{i}.png").stat().st_mtime_ns != then} == {"c"}


def test_a_folder_holds_what_one_request_asked_for(tmp_path: Path, segmenter_folder: Path, photos: Path) -> None:
    """Another setting, another file of the same id, and a folder of something else are refused."""
    predicted(segmenter_folder, photos, tmp_path / "out")
    with pytest.raises(OtherRequest, match="crf was off and is on now; name a new --out"):
        predicted(segmenter_folder, photos, tmp_path / "out", crf=Refinement())
    save_image(tmp_path / "others" / "a.jpg", 1)
    with pytest.raises(OtherRequest, match=r"a.png is the mask of .*photos/a.png, not of .*others/a.jpg"):
        predicted(segmenter_folder, tmp_path / "others", tmp_path / "out")
    with pytest.raises(FolderInTheWay):
        predicted(segmenter_folder, photos, photos)
    write_json(tmp_path / "begun" / "prediction.json", {"model": "another, which could not be read"})
    assert predicted(segmenter_folder, photos, tmp_path / "begun") == {}


def test_images_are_named_by_folder_file_and_pattern(tmp_path: Path, photos: Path) -> None:
    """A folder, its files, and a pattern mean the same images, once each."""
    (photos / "notes.txt").write_text("no image")
    save_image(photos / "deep" / "f.jpg")
    flat = images_named([str(photos)])
    assert list(flat) == list("abcde")
    assert images_named([str(photos / "*")]) == flat == images_named([*map(str, flat.values()), str(photos)])
    assert list(images_named([str(photos / "**" / "*")])) == list("abcdef")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["photos/absent.png"], "photos/absent.png: no such file or folder; give a folder"),
        (["photos/*.gif"], r"photos/\*.gif: no such file"),
        (["empty"], "empty: no images in this folder"),
        (["photos", "twice"], "photos/a.png and twice/a.jpg would both be a.png: rename one"),
        (["*.txt"], "none of the 1 files that it matches is an image"),
    ],
)
def test_names_that_lead_to_no_images_are_refused(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    """What is not there, holds no image, or would give two images one mask is named with the remedy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    save_image(tmp_path / "twice" / "a.jpg")
    with pytest.raises(NoImages, match=message):
        images_named(names)


def test_a_folder_that_cannot_be_written_to_is_named_with_its_option(
    tmp_path: Path, segmenter_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of the store where the folder of predictions is what refuses, as a whole or to be locked."""
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "below"
    with pytest.raises(StoreNotWritable, match=rf"^the folder of predictions {below} .*one with --out$"):
        predicted(segmenter_folder, photos, below)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(StoreNotWritable, match=rf"^the folder of predictions {tmp_path}/out .*one with --out$"):
        predicted(segmenter_folder, photos, tmp_path / "out")
