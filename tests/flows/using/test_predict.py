"""Masks from the command line: which segmenter a name means, how it is applied, and how it stops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.load import ConfigError
from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import MaskPrediction, Refinement
from tag2mask.flows.dag.errors import RunStopped
from tag2mask.flows.dag.record import RunRecord, note_in_record
from tag2mask.flows.using import predict as flow
from tag2mask.flows.using.predict import PredictRequest, predict
from tag2mask.flows.using.trained_models import NoSuchModel, named_segmenter
from tag2mask.tasks.building.opening import NoSuchArtifact
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.prediction import predicted_folder
from tag2mask.tasks.prediction.image_files import NoImages
from tag2mask.tasks.prediction.request import OtherRequest
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.files import read_json, write_json
from tag2mask.tasks.store.manifest import DamagedArtifact
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_files import save_image
from tests.tasks.drawn_segmenter import write_segmenter
from tests.tasks.drawn_store import artifact

SETTINGS: dict[str, Any] = {
    "prediction": {**MaskPrediction(image_size=64, flip=True).model_dump(mode="json"), "filter_by_tags": True},
    "refinement": Refinement(iterations=2).model_dump(mode="json"),
}


def write_run(root: Path, name: str, number: int, models: dict[str, Artifact | None], **settings: Any) -> None:
    """The record of a run of one round; None is a node that failed."""
    nodes = {node: {"artifact": made.label} if made else {"state": "failed"} for node, made in models.items()}
    path = root / ".runs" / name / f"{number:06d}-20260101T000000.000000Z.json"
    note_in_record(RunRecord(path, {}), config={"rounds": 1, **SETTINGS, **settings}, nodes=nodes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Artifact]]:
    """A store with two segmenters and what three runs have made of them."""
    root = tmp_path_factory.mktemp("finished") / "store"
    store = Store(root).create()
    first, second = (
        artifact(store, "train_segmenter", write_segmenter, {}, content) for content in ("first", "second")
    )
    chosen = artifact(store, "deliver_round", write_segmenter, {"model": first})
    write_run(root, "plain", 1, {"train_segmenter-10": second, "train_segmenter-9": first}, rounds=9)
    write_run(root, "plain", 2, {"train_segmenter-10": None, "train_segmenter-9": first}, rounds=9)
    write_run(root, "plain", 3, {"train_segmenter-9": first}, rounds=9)  # stopped, or asked for no more
    write_run(root, "best", 4, {"train_segmenter-2": second, "deliver_round": chosen}, deliver="best")
    write_run(root, "best", 5, {"train_segmenter-2": first}, deliver="best")
    write_run(root, "failed", 6, {"train_segmenter-1": None})
    return root, {"first": first, "second": second, "chosen": chosen}


def test_a_run_means_the_segmenter_that_it_delivers(finished: tuple[Path, dict[str, Artifact]]) -> None:
    """It is the last round's of the newest run that got so far, or the chosen round's, as its settings apply it."""
    root, made = finished
    assert named_segmenter("plain", root).folder == made["second"].path
    best = named_segmenter("best", root)
    assert best.title == made["chosen"].label and best.folder == made["chosen"].path
    prediction, refinement = best.settings(["refinement.iterations=5"])
    assert prediction == MaskPrediction(image_size=64, flip=True) and refinement == Refinement(iterations=5)


def test_labels_and_folders_mean_the_same_model(finished: tuple[Path, dict[str, Artifact]], tmp_path: Path) -> None:
    """A label, its beginning and its folder give the artifact with its run's settings; a copy those of the training."""
    root, made = finished
    second = made["second"]
    for text in (second.label, second.label[:-12], str(second.path)):
        model = named_segmenter(text, root if text != str(second.path) else tmp_path)
        assert model.folder == second.path and model.title == second.label
        assert model.settings()[0].image_size == 64
    copy = write_segmenter(tmp_path / "copy")
    assert named_segmenter(str(copy), root).settings() == (MaskPrediction(image_size=72), Refinement())


def test_a_folder_of_masks_does_not_hide_a_run_of_its_name(
    finished: tuple[Path, dict[str, Artifact]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where masks were written to a folder that is called as the run, the same command means the run again."""
    root, made = finished
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "predictions.csv").touch()
    assert named_segmenter("plain", root).folder == made["second"].path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent", r"no run of this name in .*\(runs: best, failed, plain\); give a run's name"),
        ("failed", "failed: no run of this name in .* has finished its segmenter"),
        ("train_segmenter/zz", "no such artifact in .*; `tag2mask ls` lists them"),
        ("train_segmenter/", "no such artifact"),
        (".", "holds no model.json; a model folder holds model.pt and model.json"),
        ("*", "no such model folder"),
    ],
)
def test_a_name_of_nothing_says_what_there_is(
    finished: tuple[Path, dict[str, Artifact]], text: str, message: str
) -> None:
    """A model that is not there is refused with what was looked for and what there is."""
    with pytest.raises((NoSuchModel, NoSuchArtifact), match=message):
        named_segmenter(text, finished[0])


def asked(tmp_path: Path, model: Path, **options: Any) -> PredictRequest:
    """A request for two images."""
    for seed in range(2):
        save_image(tmp_path / "photos" / f"p{seed}.jpg", seed, (40, 50))
    return PredictRequest(str(model), [str(tmp_path / "photos")], tmp_path / "out", **options)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch as the tests have set it."""
    monkeypatch.setattr(flow, "prepare_torch", lambda device, threads: "cpu")


@pytest.mark.usefixtures("on_the_cpu")
def test_images_get_masks_and_a_summary(tmp_path: Path) -> None:
    """The folder says which model and settings made it, the summary how many masks there are and what is set aside."""
    request = asked(tmp_path, write_segmenter(tmp_path / "model"), crf=True, changes=["refinement.iterations=1"])
    (tmp_path / "photos" / "bad.jpg").write_text("no image")
    reported = predict(request, Runtime(root=tmp_path / "store", cores=1))
    assert reported.startswith("2 masks of ") and "with CRF" in reported
    assert "1 images are set aside" in reported and "bad.jpg: is not an image" in reported
    kept = read_json(tmp_path / "out" / "prediction.json")
    assert kept["crf"]["iterations"] == 1 and kept["prediction"]["image_size"] == 72
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("on_the_cpu")
def test_nothing_predicted_is_an_error(tmp_path: Path) -> None:
    """Where none of the images can be read, the reasons are the message of an error, and the table is there."""
    request = asked(tmp_path, write_segmenter(tmp_path / "model"))
    for photo in (tmp_path / "photos").iterdir():
        photo.write_text("no image")
    with pytest.raises(NoImages, match=r"(?s)nothing was predicted:.*2 images are set aside.*is not an image"):
        predict(request, Runtime(root=tmp_path / "store", cores=1))
    assert (tmp_path / "out" / "set_aside.csv").is_file()


@pytest.mark.usefixtures("on_the_cpu")
def test_an_interruption_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C says that the same command goes on, and it does."""
    request, runtime = asked(tmp_path, write_segmenter(tmp_path / "model")), Runtime(root=tmp_path, cores=1, shard=1)

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predicted_folder, "_write_tables", interrupt)
        with pytest.raises(RunStopped, match="finished masks stay in .*out, and the same command goes on"):
            predict(request, runtime)
    masks = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "masks").iterdir()}
    assert predict(request, runtime).startswith("2 masks")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "masks").iterdir()} == masks


@pytest.mark.usefixtures("on_the_cpu")
def test_a_model_is_the_same_by_whatever_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is gone on with where the model has the same weights, however it was called, and else refused."""
    model, runtime = write_segmenter(tmp_path / "model"), Runtime(root=tmp_path / "store", cores=1)
    monkeypatch.chdir(tmp_path)
    assert predict(replace(asked(tmp_path, model), model="model/"), runtime).startswith("2 masks of model/, ")
    for text in ("model", str(model)):
        assert predict(replace(asked(tmp_path, model), model=text), runtime).startswith(f"2 masks of {text}, ")
    assert read_json(tmp_path / "out" / "prediction.json")["model"] == str(model)
    write_segmenter(tmp_path / "other", ("ant", "bee"))
    with pytest.raises(OtherRequest, match=f'model was "{model}" and is "other" now; model_sha256 was'):
        predict(replace(asked(tmp_path, model), model="other"), runtime)


def test_what_would_not_be_read_or_fit_is_refused(tmp_path: Path) -> None:
    """Settings of other sections, a model of another kind, and a damaged artifact are refused before any network."""
    runtime, model = Runtime(root=tmp_path / "store", cores=1), write_segmenter(tmp_path / "model")
    with pytest.raises(ConfigError, match="would not be read here; only prediction and refinement are"):
        predict(asked(tmp_path, model, changes=["mining.foreground=0.2"]), runtime)
    with pytest.raises(ConfigError, match="^--set prediction=5: prediction is a section; write prediction.key=value$"):
        predict(asked(tmp_path, model, changes=["prediction=5"]), runtime)
    write_json(model / "model.json", {"kind": "saliency", "config": {}})
    with pytest.raises(WeightsError, match="is a 'saliency' model; a 'segmenter' model is needed here"):
        predict(asked(tmp_path, model), runtime)
    made = artifact(Store(runtime.root).create(), "train_segmenter", write_segmenter, {})
    (made.path / "model.pt").write_bytes(b"other")
    with pytest.raises(DamagedArtifact, match="model.pt"):
        named_segmenter(made.label, runtime.root)
