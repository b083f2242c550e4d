"""Training of group systems: interrupted and resumed to the same bytes, what it learns from, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.configs.schema import CosaliencyMaps
from tag2mask.tasks import predict_cosaliency, train_cosaliency
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.ingest import BadDataset
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.groups.batches import NoTargets
from tag2mask.tasks.networks.factory import load_model
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import cosaliency_network
from tests.tasks.cosaliency_inputs import PROVIDERS, counts_of, group_folder, settings, write_inputs
from tests.tasks.drawn_files import save_mask
from tests.tasks.interruption import check_resumed, interrupted_after

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ten images of three classes, with certain saliency and CAM."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_training_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], provider: str) -> None:
    """A twice interrupted training ends with the bytes of a whole one, and what it saves loads as the network alone."""
    config = settings(provider, falling=provider == "gconet_plus")
    whole = check_resumed(train_cosaliency.run, config, tmp_path, (2, 4), **inputs)
    load_model(whole, cosaliency_network(config))
    counts = counts_of(whole)
    pairs = sum(len(record.tags) for record in ImageIndex.read(inputs["dataset"]).split("train"))
    assert counts == {"images": 7, "groups": 2, "steps": 5, "with_target": pairs, "without_target": 0}


def test_the_learning_rate_stays_or_falls(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A falling learning rate takes the same first step as a constant one, and another second step."""
    losses = {}
    for falling in (False, True):
        out = tmp_path / str(falling)
        train_cosaliency.run(settings("icnet", falling=falling, iterations=3), out, StageRuntime(), **inputs)
        losses[falling] = (out / "losses.csv").read_text().split()[1:]
    assert losses[False][:2] == losses[True][:2] and losses[False][2] != losses[True][2]


def test_a_frozen_backbone_stays(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """With factor 0 no weight of the backbone moves, while the others do."""
    config = settings("gconet_plus", backbone_factor=0.0, iterations=2)
    train_cosaliency.run(config, tmp_path, StageRuntime(), **inputs)
    torch.manual_seed(config.seed)
    start, end = cosaliency_network(config).state_dict(), cosaliency_network(config)
    load_model(tmp_path, end)
    moved = {name.split(".")[0] for name, value in end.state_dict().items() if not torch.equal(value, start[name])}
    assert "backbone" not in moved and {"affinity", "top", "enhance"} <= moved


def test_nothing_to_train_on_is_reported(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Thresholds that no pixel passes, and missing inputs, end with an error before the first step."""
    config = settings("icnet", targets={"salient": 1.0, "cam": 1.0})
    with pytest.raises(NoTargets, match="no group has two .* of cosaliency.targets, 0 are not"):
        train_cosaliency.run(config, tmp_path, StageRuntime(), **inputs)
    with pytest.raises(ValueError, match="needs a training_set, or dataset, saliency and cams"):
        train_cosaliency.run(config, tmp_path, StageRuntime(), dataset=inputs["dataset"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_folder_of_groups_trains(tmp_path: Path, provider: str) -> None:
    """Masks in group folders take the place of tags, saliency and CAM, and an incomplete folder is refused."""
    given = group_folder(tmp_path / "set", saliency=provider == "icnet")
    config = settings(provider, iterations=2)
    train_cosaliency.run(config, tmp_path / "out", StageRuntime(), training_set=given)
    counts = counts_of(tmp_path / "out")
    assert counts == {"images": 6, "groups": 2, "steps": 2, "with_target": 6, "without_target": 0}
    (given / "masks" / "cars" / "x1.png").unlink()
    with pytest.raises(BadDataset, match=r"masks/cars: 1 images have no <id>.png here: x1"):
        train_cosaliency.run(config, tmp_path / "other", StageRuntime(), training_set=given)


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A mask of 0 and 1, one of another size, and missing saliency maps are found before the first step."""
    given = group_folder(tmp_path / "set", saliency=False)
    config = settings("gconet_plus", iterations=2)
    save_mask(given / "masks" / "boats" / "x0.png", np.ones((40, 56)))
    with pytest.raises(BadDataset, match="boats/x0.png: its brightest value is 1"):
        train_cosaliency.run(config, tmp_path / "out", StageRuntime(), training_set=given)
    save_mask(given / "masks" / "boats" / "x0.png", np.full((40, 50), 255))
    with pytest.raises(BadDataset, match="is 50x40, but its image is 56x40"):
        train_cosaliency.run(config, tmp_path / "out", StageRuntime(), training_set=given)
    with pytest.raises(BadDataset, match="saliency/boats: 3 images"):
        (given / "saliency" / "boats").mkdir(parents=True)
        train_cosaliency.run(settings("icnet"), tmp_path / "out", StageRuntime(), training_set=given)


@pytest.mark.parametrize(
    ("provider", "behind"), [("icnet", ["none", "cats", "dogs"]), ("gconet_plus", ["none", "cats"])]
)
def test_masks_behind_the_maps_are_reported(
    tmp_path: Path, inputs: dict[str, Path], caplog: pytest.LogCaptureFixture, provider: str, behind: list[str]
) -> None:
    """A model names the masks behind the saliency it learned from; ICNet's maps, and a warning, those they read too."""
    for name, masks, answer in (("learned", "cats", "no"), ("used", "dogs", "yes")):
        shutil.copytree(inputs["saliency"], tmp_path / name)
        Provenance(masks, answer, 5).write(tmp_path / name)
    given = inputs | {"saliency": tmp_path / "learned"}
    train_cosaliency.run(settings(provider, iterations=1), tmp_path / "model", StageRuntime(), **given)
    given = inputs | {"saliency": tmp_path / "used", "model": tmp_path / "model"}
    predict_cosaliency.run(CosaliencyMaps(), tmp_path / "maps", StageRuntime(), **given)
    assert ("saliency from other masks (none: tags, CAMs and saliency maps; cats)" in caplog.text) == (
        provider == "icnet"
    )
    reported = Provenance.read(tmp_path / "maps", otherwise="")
    assert [one.masks.partition(":")[0] for one in reported.trainings()] == behind
    answer = "yes" if "dogs" in behind else "no"
    assert read_json(tmp_path / "maps" / "metrics.json")["masks_show_target_classes"] == answer


def test_masks_of_groups_are_what_their_folder_says(tmp_path: Path) -> None:
    """A folder of groups with a provenance.json is quoted, and one without is unknown."""
    given = group_folder(tmp_path / "set", saliency=False)
    config = settings("gconet_plus", iterations=1)
    train_cosaliency.run(config, tmp_path / "one", StageRuntime(), training_set=given)
    assert Provenance.read(tmp_path / "one", otherwise="").shows_target_classes == "unknown"
    Provenance("boats and cars", "yes").write(given)
    train_cosaliency.run(config, tmp_path / "two", StageRuntime(), training_set=given)
    assert Provenance.read(tmp_path / "two", otherwise="") == Provenance("boats and cars", "yes", 6)
    (given / "provenance.json").write_text("{")
    with pytest.raises(ValueError, match="provenance.json: cannot be read"):
        train_cosaliency.run(config, tmp_path / "three", interrupted_after(1), training_set=given)
