"""Saliency maps of any folder, from the command line."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import Saliency
from tag2mask.flows import saliency_maps
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.init import packaged
from tag2mask.flows.run import Request
from tag2mask.flows.saliency_maps import SaliencyRequest, make_saliency_maps
from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.dataset.whole_folder import FolderInTheWay
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.store.files import read_json
from tests.tasks.drawn_files import save_image

SMALL = (
    "saliency.image_size=64",
    "saliency.iterations=2",
    "saliency.batch_size=2",
    "saliency.channels=8",
    "saliency.key_channels=4",
)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three images to map, and three with masks to learn from."""
    for seed in range(3):
        save_image(tmp_path / "photos" / f"p{seed}.jpg", seed, (40, 50 + seed))
        save_image(tmp_path / "learn" / f"l{seed}.jpg", 10 + seed, (40, 40))
        mask = np.zeros((40, 40), np.uint8)
        mask[10:30, 10:30] = 255
        write_gray(tmp_path / "masks" / f"l{seed}.png", mask)
    return tmp_path


def asked(folders: Path, name: str = "maps", **options: object) -> SaliencyRequest:
    """A request whose training takes a second."""
    given = {"train_images": folders / "learn", "train_masks": folders / "masks", "changes": SMALL, **options}
    if not {"model", "settings", "weights"} & options.keys() and given["train_images"]:
        given["weights"] = "none"
    return SaliencyRequest(folders / "photos", folders / name, **given)  # type: ignore[arg-type]


def test_a_folder_of_images_gets_maps(folders: Path) -> None:
    """Each image gets a map of its size and a row of the table; a second request trains nothing."""
    runtime = Runtime(root=folders / "store", cores=1)
    reported = make_saliency_maps(asked(folders), runtime, "local")
    assert reported.startswith("3 maps in ")
    with (folders / "maps" / "maps.csv").open(newline="") as file:
        assert [row["image_id"] for row in csv.DictReader(file)] == ["p0", "p1", "p2"]
    for photo in (folders / "photos").iterdir():
        assert read_gray(folders / "maps" / f"{photo.stem}.png").shape == read_rgb(photo).shape[:2]
    trained = os.listdir(folders / "store" / "train_saliency")
    make_saliency_maps(asked(folders, "again"), runtime, "local")
    assert os.listdir(folders / "store" / "train_saliency") == trained
    model = folders / "store" / "train_saliency" / trained[0]
    make_saliency_maps(
        asked(folders, "known", train_images=None, train_masks=None, model=model, changes=()), runtime, "local"
    )
    for name in ("again", "known"):
        assert (folders / name / "p0.png").read_bytes() == (folders / "maps" / "p0.png").read_bytes()


def test_the_folder_one_stands_in_takes_maps(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--out .` in an empty folder fills it."""
    (folders / "here").mkdir()
    monkeypatch.chdir(folders / "here")
    request = SaliencyRequest(folders / "photos", Path("."), "prior")
    make_saliency_maps(request, Runtime(root=folders / "store", cores=1), "local")
    assert sorted(path.stem for path in (folders / "here").glob("*.png")) == ["p0", "p1", "p2"]


def test_another_run_that_ends_in_between_changes_nothing(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of another folder, made at the same time in the same store, are not taken for one's own."""
    save_image(folders / "others" / "q.jpg", 5, (40, 50))
    runtime, real = Runtime(root=folders / "store", cores=1), saliency_maps.run
    other = SaliencyRequest(folders / "others", folders / "of-others", "prior")

    def with_company(request: Request) -> None:
        real(request)
        monkeypatch.setattr(saliency_maps, "run", real)
        make_saliency_maps(other, runtime, "local")

    monkeypatch.setattr(saliency_maps, "run", with_company)
    (folders / "photos" / "more").mkdir()
    save_image(folders / "photos" / "p9.gif", 5, (40, 50))
    reported = make_saliency_maps(SaliencyRequest(folders / "photos", folders / "own", "prior"), runtime, "local")
    assert reported.startswith("3 maps") and reported.endswith("photos: not read: 1 .gif, 1 folder")
    assert sorted(path.stem for path in (folders / "own").glob("*.png")) == ["p0", "p1", "p2"]
    assert [path.stem for path in (folders / "of-others").glob("*.png")] == ["q"]


@pytest.mark.parametrize("name", ["demo.yaml", "voc-mini.yaml", "voc2012.yaml"])
def test_settings_of_an_ordinary_run_make_maps(folders: Path, name: str) -> None:
    """Of the settings of a whole run those of saliency are taken, and nothing of what needs tags is left."""
    request = asked(folders, settings=packaged(name))
    config = load_config(packaged(name), request.all_changes(folders / "store"))
    assert {node.stage for node in build_dag(config)} <= set(SALIENCY_STAGES)
    assert config.saliency.channels == 8 and config.deliver == "last"


SALIENCY_STAGES = ("index_dataset", "index_saliency_set", "train_saliency", "predict_saliency")
OF_A_WHOLE_RUN = """
name: whole
dataset:
  {root: ., images: a, tags: a, tags_format: folders, test_split: t.txt, val_split: v.txt, corrections: c}
cosaliency: {provider: icnet, training_set: groups, image_size: 256}
mining: {class_conditional: true}
deliver: best
saliency: {backbone: {name: resnet50, output_stride: 16, weights: none}, """


@pytest.mark.parametrize(
    ("saliency", "options"),
    [
        ("targets: prior, self_training_rounds: 2}", {}),
        ("targets: prior}", {"model": True, "train_images": None, "train_masks": None, "changes": ()}),
        ("targets: prior}", {"provider": "prior", "train_images": None, "train_masks": None}),
        ("start_from: gone}", {"provider": "prior", "train_images": None, "train_masks": None}),
        ("checkpoint: gone}", {}),
        ("checkpoint: gone}", {"model": True}),
    ],
)
def test_what_is_asked_for_takes_the_place_of_the_settings(
    folders: Path, saliency: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks, a model or the prior stand for what the file says of tags, of training and of models."""
    settings = folders / "whole.yaml"
    settings.write_text(OF_A_WHOLE_RUN + saliency)
    load_config(settings, ["saliency_set.root=."])  # the file itself is right
    found = {"provider": "reciprocal", "channels": 8, "key_channels": 4}
    monkeypatch.setattr(saliency_maps, "model_folder", lambda given, root: folders / "model")
    monkeypatch.setattr(saliency_maps, "architecture_of_start", lambda model: found)
    monkeypatch.setattr(saliency_maps, "saliency_settings", lambda model: Saliency(image_size=64))
    if options.get("model"):
        options = {**options, "model": folders / "model"}
    request = asked(folders, settings=settings, **options)
    config = load_config(settings, request.all_changes(folders))
    stages = {node.stage for node in build_dag(config)}
    assert ("train_saliency" in stages) is (request.train_images is not None)
    assert stages <= {*SALIENCY_STAGES, "predict_prior"}


def test_saliency_that_only_tags_teach_is_refused(folders: Path) -> None:
    """Where the settings learn saliency from tags, and no other source is given, the message says which there are."""
    settings = folders / "whole.yaml"
    settings.write_text(OF_A_WHOLE_RUN + "targets: prior}")
    request = asked(folders, settings=settings, train_images=None, train_masks=None)
    with pytest.raises(ConfigError, match="without tags saliency comes from masks to train on, a trained model, or"):
        load_config(settings, request.all_changes(folders))


def test_a_full_folder_is_refused_before_the_training(folders: Path) -> None:
    """A folder that holds something is refused before anything is built."""
    with pytest.raises(FolderInTheWay):
        make_saliency_maps(asked(folders, "photos"), Runtime(root=folders / "store", cores=1), "local")
    assert not (folders / "store").exists()


def test_a_model_is_fine_tuned(folders: Path) -> None:
    """With masks a training starts from the model, whose architecture and size it takes; both masks are reported."""
    runtime = Runtime(root=folders / "store", cores=1)
    make_saliency_maps(asked(folders, about="drawn squares", shows_target_classes="yes"), runtime, "local")
    first = next((folders / "store" / "train_saliency").iterdir())
    few = ("saliency.iterations=1", "saliency.batch_size=2")
    own = asked(folders, "tuned", model=Path(first.name), about="own", shows_target_classes="no", changes=few)
    make_saliency_maps(own, runtime, "local")
    reported = read_json(folders / "tuned" / "provenance.json")
    assert reported == {
        "masks": "own",
        "shows_target_classes": "no",
        "images": 3,
        "earlier": [{"masks": "drawn squares", "shows_target_classes": "yes", "images": 3}],
    }
    (second,) = set((folders / "store" / "train_saliency").iterdir()) - {first}
    assert read_json(second / "model.json")["config"]["image_size"] == 64
    assert (
        read_json(second / "manifest.json")["recipe"]["inputs"]["start"] == read_json(first / "manifest.json")["digest"]
    )


@pytest.mark.parametrize("change", ["saliency.channels=12", "saliency.provider=purnet"])
def test_a_model_that_does_not_fit_is_refused_before_anything(folders: Path, change: str) -> None:
    """A training that cannot start from its model is refused before any stage is built."""
    root = folders / "store"
    make_saliency_maps(asked(folders), Runtime(root=root, cores=1), "local")
    model = next((root / "train_saliency").iterdir())
    tuned = asked(folders, "tuned", model=model, changes=(*SMALL, "saliency.iterations=9", change))
    with pytest.raises(WeightsError, match=r"model.json: a training cannot start from this model: .* there and "):
        make_saliency_maps(tuned, Runtime(root=folders / "other", cores=1), "local")
    assert not (folders / "other").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": Path("absent")}, "absent: no model there and none of that name in .*`tag2mask ls train_saliency`"),
        ({"model": Path("absent"), "weights": "none"}, "with --model it starts from the model"),
        (
            {"train_images": None, "train_masks": None, "about": "x", "model": Path("m"), "changes": ()},
            "describe the masks to train",
        ),
        ({"train_masks": None}, "--train-masks belong together"),
        ({"train_images": None, "train_masks": None}, "--provider prior"),
        ({"provider": "prior"}, "--provider prior has no network, so --train-images would not be read"),
        (
            {"provider": "prior", "train_images": None, "train_masks": None, "weights": "gone.pth"},
            "--provider prior has no network, so --weights would not be read",
        ),
        (
            {"train_images": None, "train_masks": None, "model": Path("m")},
            "--set saliency.* would not be read: leave it out, or fine-tune",
        ),
        (
            {"provider": "prior", "train_images": None, "train_masks": None, "model": Path("m")},
            "--provider prior has no network, so --model would not be read",
        ),
        ({"settings": Path("absent.yaml")}, "absent.yaml"),
    ],
)
def test_what_is_missing_is_named(folders: Path, options: dict[str, object], message: str) -> None:
    """A request that cannot be carried out says which option it lacks."""
    with pytest.raises(ConfigError, match=message):
        make_saliency_maps(asked(folders, **options), Runtime(root=folders / "store", cores=1), "local")
