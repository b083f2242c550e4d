"""The package from Python: cheap to import, complete, and as the notebook uses it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tag2mask
from tag2mask.flows.using.export_model import export_model
from tag2mask.tasks.building.opening import NoSuchArtifact
from tag2mask.tasks.dataset.images import BadImage
from tag2mask.tasks.exports.released_images import NoImagesHere
from tag2mask.tasks.release.publish import publish
from tag2mask.tasks.store.manifest import DamagedArtifact
from tag2mask.tasks.store.store import Store
from tests.flows.using.test_predict import write_run
from tests.tasks.drawn_files import save_turned
from tests.tasks.drawn_segmenter import write_segmenter
from tests.tasks.drawn_store import CLASSES, LABELS, LENIENT, artifact, draft_of

NOTEBOOK = Path(__file__).parents[1] / "docs" / "use.ipynb"
PAGE = NOTEBOOK.with_name("use.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a run `mine` and its release."""
    folder = tmp_path_factory.mktemp("mine")
    store = Store(folder / "artifacts").create()
    publish(store, "mine", draft_of(store, LABELS), LENIENT, about={"config": {}, "artifacts": {}})
    model = artifact(store, "train_segmenter", lambda out: write_segmenter(out, CLASSES), {})
    write_run(store.root, "mine", 1, {"train_segmenter-2": model})
    return folder


def test_importing_the_package_imports_nothing_heavy() -> None:
    """`import tag2mask` leaves torch, numpy, pandas and Prefect alone, and `dir` shows what there is."""
    program = (
        "import sys, tag2mask; assert set(tag2mask.__all__) <= set(dir(tag2mask)); "
        "print({'torch', 'numpy', 'pandas', 'prefect', 'pydantic'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_every_name_of_the_package_is_there() -> None:
    """Each name in `__all__` is documented, and another is refused with those there are."""
    assert all(getattr(tag2mask, name).__doc__ for name in tag2mask.__all__)
    with pytest.raises(AttributeError, match="'predict'; it has ReleaseDataset, load_model"):
        tag2mask.predict  # noqa: B018


def test_the_notebook_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells, executed in order beside a store, predict, read a release, and train on it."""
    monkeypatch.chdir(folder)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        exec("".join(cell["source"]), names)
    assert names["prediction"].labels.shape == names["photo"].shape[:2]
    assert torch.isfinite(names["loss"]) and len(names["release"]) == len(LABELS)
    assert names["dataset_artifact"].stage == "index_dataset"
    assert "% ignored" in capsys.readouterr().out


@pytest.mark.slow
def test_the_programs_of_the_page_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both programs of docs/use.md, as they stand there, label a photograph: with onnxruntime alone, and with us."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(folder)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save("photo.jpg")
    export_model("mine", "onnx", Path("mine.onnx"), Path("artifacts"))
    foreign, own = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(foreign, names)
    height, width = names["labels"].shape
    assert abs(width / height - 120 / 90) < 0.05 and names["labels"].max() <= len(CLASSES)
    made = next(Path("artifacts", "train_segmenter").iterdir()).name
    exec(own.replace("1f0c", made), names)
    assert names["prediction"].labels.shape == (90, 120) and names["artifact"].key == made
    assert len(names["dataset"]) == len(LABELS)


def test_a_file_and_its_pixels_are_predicted_alike(folder: Path, tmp_path: Path) -> None:
    """A turned JPEG is predicted upright; probabilities have a plane per class and go with the labels."""
    model = tag2mask.load_model("mine", root=folder / "artifacts")
    path = save_turned(tmp_path / "turned.jpg", 3, 6, (40, 60))
    found = model.predict(path)
    assert found.labels.shape == (60, 40) and found.labels.dtype == np.uint8
    assert set(found.shares) <= set(CLASSES) and 0 < found.confidence <= 1
    planes = found.probabilities()
    assert planes.shape == (4, 60, 40) and np.abs(planes.sum(0) - 1).max() < 0.06
    assert np.mean(planes.argmax(0) != found.labels) < 0.01
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8 RGB, not \(4, 4\) float64"):
        model.predict(np.zeros((4, 4)))
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(BadImage, match="bad.png: is not an image"):
        model.predict(tmp_path / "bad.png")


def test_a_release_reads_back_what_was_labeled(folder: Path, tmp_path: Path) -> None:
    """Labels, tags, classes and items of the dataset are those of the run; a copy needs to be reported its images."""
    release = tag2mask.read_release(folder / "artifacts" / "releases" / "mine" / "latest")
    assert release.title == "mine@1" and release.classes == CLASSES and release.ids == tuple(LABELS)
    dataset = tag2mask.ReleaseDataset(release)
    for number, (image_id, labels) in enumerate(LABELS.items()):
        image, target = dataset[number]
        assert torch.equal(target, torch.from_numpy(labels).long()) and image.shape == (3, *labels.shape)
        assert set(release.tags(image_id)) == {CLASSES[n - 1] for n in np.unique(labels) if 0 < n < 255}
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    copy = tmp_path / "copy" / "mine"
    shutil.copytree(folder / "artifacts" / "releases" / "mine" / "1", copy)
    assert tag2mask.read_release(copy, images=release.images).image(release.ids[0]).ndim == 3
    with pytest.raises(NoImagesHere, match="no longer in its store.*images=FOLDER"):
        tag2mask.read_release(copy).image(release.ids[0])
    with pytest.raises(DamagedArtifact, match="manifest.json cannot be read"):
        tag2mask.read_release(tmp_path)


def test_a_release_is_read_with_the_original_images(folder: Path, tmp_path: Path) -> None:
    """Originals that the index had to convert are read as it read them, by their ids."""
    release = tag2mask.read_release(folder / "artifacts" / "releases" / "mine" / "latest")
    image_id = release.ids[0]
    pixels = release.image(image_id)
    transparent = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    transparent[:2] = (9, 9, 9, 0)
    Image.fromarray(transparent).save(tmp_path / f"{image_id}.PNG")
    read = tag2mask.read_release(folder / "artifacts" / "releases" / "mine" / "1", images=tmp_path).image(image_id)
    assert (read[:2] == 255).all() and np.array_equal(read[2:], pixels[2:])


def test_an_artifact_is_opened_by_its_label(folder: Path) -> None:
    """A label, or as much of its key as is unlike the others, opens it; less or nothing of it is refused."""
    root = folder / "artifacts"
    (home,) = (root / "infer_cams").iterdir()
    assert tag2mask.open_artifact(f"infer_cams/{home.name[:5]}", root).path == home
    for label in ("infer_cams/zz", "infer_cams/", "infer_cams", "nothing/here"):
        with pytest.raises(NoSuchArtifact, match="no such artifact in .*`tag2mask ls` lists them"):
            tag2mask.open_artifact(label, root)
    shutil.copytree(home, home.with_name(f"{home.name}0"))
    with pytest.raises(NoSuchArtifact, match="2 artifacts begin so"):
        tag2mask.open_artifact(f"infer_cams/{home.name[:-1]}", root)
    assert tag2mask.open_artifact(f"infer_cams/{home.name}", root).path == home
