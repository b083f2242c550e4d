"""`init` and the demo's dataset."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.flows import demo as drawing
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.demo import demo_settings, draw_demo
from tag2mask.flows.init import Sources, _run_name, packaged, write_settings
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.demo import scenes


@pytest.fixture(autouse=True)
def _small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw a few small scenes instead of hundreds."""
    draw = scenes.write_demo
    monkeypatch.setattr(scenes, "write_demo", lambda folder: draw(folder, scenes=3, validation=1, saliency=2, size=80))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three images, with tags beside it."""
    folder = tmp_path / "holiday" / "pictures"
    folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (40, 30)).save(folder / f"{name}.jpg")
    (folder.parent / "labels.csv").write_text("image_id,labels\na,dog\nb,cat dog\nd,cat\n")
    return folder


def test_settings_are_written_for_a_folder_and_a_table(images: Path, tmp_path: Path) -> None:
    """The file loads, its paths are relative, and what was found is counted."""
    out = tmp_path / "holiday" / "my run.yaml"
    maps = images.parent / "maps"
    maps.mkdir()
    reported = write_settings(Sources(images, saliency_maps=maps), out)
    config = load_config(out)
    assert (config.name, config.dataset.root) == ("my-run", images.parent)
    assert (config.dataset.images, config.dataset.tags) == ("pictures", "labels.csv")
    assert (config.saliency.provider, config.saliency.maps) == ("folder", maps)
    assert config.saliency_set is None and config.dataset.masks is None
    assert str(tmp_path) not in out.read_text()
    assert "3 images, 2 of them tagged" in reported
    assert "2 classes: cat 1, dog 2" in reported
    assert "1 tagged ids have no image: d" in reported
    assert (
        "it does not run yet: " in reported
        and "1 ids have no image: d" in reported
        and "1 images have no tag: c" in reported
    )
    assert reported.endswith(f"next: mend that, then tag2mask run {out}")
    assert build_dag(config)


def test_tags_and_masks_that_lie_elsewhere_are_found_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command is given and the file is written, both are read from where they were named."""
    elsewhere, at_work = tmp_path / "elsewhere", tmp_path / "work"
    for folder in (elsewhere / "masks", at_work):
        folder.mkdir(parents=True)
    table = (images.parent / "labels.csv").rename(elsewhere / "labels.csv")
    (at_work / "labels.csv").write_text("image_id,labels\na,wrong\n")
    monkeypatch.chdir(elsewhere)
    for number, given in enumerate((images, Path("../holiday/pictures"))):
        out = at_work / f"{number}.yaml"
        reported = write_settings(Sources(given, tags=Path("labels.csv"), masks=Path("masks")), out)
        dataset = load_config(out).dataset
        found = [(dataset.root / str(path)).resolve() for path in (dataset.images, dataset.tags, dataset.masks)]
        assert found == [images, table, elsewhere / "masks"] and "2 classes: cat 1, dog 2" in reported
        assert "no such file" not in reported


def test_a_dataset_that_fits_is_next_to_run(images: Path, tmp_path: Path) -> None:
    """Where images and tags fit the command that runs them is reported; ids with a suffix are pointed at."""
    maps = images.parent / "maps"
    maps.mkdir()
    table = images.parent / "labels.csv"
    for image_id in ("d", "e", "f"):
        Image.new("RGB", (40, 30)).save(images / f"{image_id}.jpg")
    table.write_text("image_id,labels\na,dog\nb,cat dog\nc,cat\nd,cat\ne,dog\nf,dog\n")
    reported = write_settings(Sources(images, saliency_maps=maps), tmp_path / "good.yaml")
    assert reported.endswith(f"next: tag2mask run {tmp_path / 'good.yaml'}") and "does not run" not in reported
    table.write_text(table.read_text().replace("a,dog", "a.jpg,dog"))
    reported = write_settings(Sources(images, saliency_maps=maps), tmp_path / "suffix.yaml")
    assert "ids are names without suffix: a, not a.jpg" in reported


def test_the_folder_around_images_and_tags_serves_as_well(images: Path, tmp_path: Path) -> None:
    """Given the folder that holds the images' one and the tags, the images' is taken; with two of them, none is."""
    write_settings(Sources(images.parent), tmp_path / "around.yaml")
    dataset = load_config(tmp_path / "around.yaml").dataset
    assert (dataset.root / dataset.images, dataset.tags) == (images, "labels.csv")
    (images.parent / "other").mkdir()
    Image.new("RGB", (40, 30)).save(images.parent / "other" / "x.jpg")
    assert "0 images" in write_settings(Sources(images.parent), tmp_path / "two.yaml")


def test_folders_beside_the_images_are_not_looked_into(images: Path, tmp_path: Path) -> None:
    """A link beside images, to a folder that nobody may read or back to themselves, stops nothing."""
    (images / "back").symlink_to(images)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    (images / "link").symlink_to(closed)
    assert "3 images, 2 of them tagged" in write_settings(Sources(images), tmp_path / "links.yaml")
    closed.chmod(0o700)


def test_splits_masks_and_saliency_sets_are_found(images: Path, tmp_path: Path) -> None:
    """A pair of split files beside the images is taken, and what is given by option."""
    for name in ("train", "val"):
        (images.parent / f"{name}.txt").write_text("a\n")
    for name in ("masks", "sal/img", "sal/gt"):
        (tmp_path / name).mkdir(parents=True)
    sources = Sources(
        images,
        masks=tmp_path / "masks",
        saliency_images=tmp_path / "sal" / "img",
        saliency_masks=tmp_path / "sal" / "gt",
    )
    write_settings(sources, tmp_path / "out.yaml")
    config = load_config(tmp_path / "out.yaml")
    assert (config.dataset.train_split, config.dataset.val_split) == ("train.txt", "val.txt")
    assert (config.dataset.root / str(config.dataset.masks)).resolve() == tmp_path / "masks"
    assert config.saliency_set is not None
    assert (config.saliency_set.root, config.saliency_set.images) == (tmp_path / "sal", "img")


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_list_of_a_split_is_taken_alone(images: Path, tmp_path: Path, split: str) -> None:
    """A list of training or of validation images counts though the other one is not there."""
    (images.parent / f"{split}.txt").write_text("a\n")
    write_settings(Sources(images), tmp_path / "out.yaml")
    dataset = load_config(tmp_path / "out.yaml").dataset
    assert [dataset.train_split, dataset.val_split] == [f"{s}.txt" if s == split else None for s in ("train", "val")]


def test_classes_that_differ_in_case_are_told(images: Path, tmp_path: Path) -> None:
    """Two spellings of one name are two classes, and that is said before the run."""
    (images.parent / "labels.csv").write_text("image_id,labels\na,Dog\nb,dog cat\n")
    said = write_settings(Sources(images), tmp_path / "out.yaml")
    assert "Dog and dog differ in case alone" in said and "cat and" not in said


def test_without_saliency_it_needs_no_masks(images: Path, tmp_path: Path) -> None:
    """With images and tags alone saliency is the prior's; the file says what was chosen and what else there is."""
    reported = write_settings(Sources(images), tmp_path / "out.yaml")
    config = load_config(tmp_path / "out.yaml")
    assert "saliency needs no masks" in reported
    assert (config.saliency.provider, config.saliency_set) == ("prior", None)
    evidence = config.cam_refinement
    assert evidence.saliency_weight < load_config(packaged("voc-mini.yaml")).cam_refinement.saliency_weight
    assert config.release.minimum_saliency_agreement is None and config.release.minimum_cam_agreement is not None
    names = {node.name for node in build_dag(config)}
    assert "predict_prior" in names and not names & {"train_saliency", "train_attention"}
    assert "# Saliency needs no masks here" in (tmp_path / "out.yaml").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["holiday"]


@pytest.mark.parametrize("several, simple_first", [(2, True), (3, False)])
def test_simple_images_teach_first_where_there_are_enough(tmp_path: Path, several: int, simple_first: bool) -> None:
    """The first round learns from images of one tag where half of them have one; otherwise from all, as init says."""
    (tmp_path / "photos").mkdir()
    rows = [f"{n},{'cat dog' if n < several else 'cat'}" for n in range(4)]
    for n in range(4):
        Image.new("RGB", (32, 32)).save(tmp_path / "photos" / f"{n}.png")
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,labels", *rows]) + "\n")
    reported = write_settings(Sources(tmp_path / "photos"), tmp_path / "out.yaml")
    config = load_config(tmp_path / "out.yaml")
    assert config.segmenter.first_round_tags == (1 if simple_first else None)
    assert config.fusion.trust == (0.85 if simple_first else 0.7)
    assert ("1 of 4 images have a single tag: the first round learns from all" in reported) != simple_first


@pytest.mark.parametrize(
    "change", ["provider=reciprocal targets=prior", "provider=reciprocal checkpoint=m", "provider=folder maps=m"]
)
def test_the_alternatives_that_the_file_names_are_settings(images: Path, tmp_path: Path, change: str) -> None:
    """What the comment offers instead of the prior is accepted."""
    write_settings(Sources(images), tmp_path / "out.yaml")
    changed = load_config(tmp_path / "out.yaml", [f"saliency.{one}" for one in change.split()])
    mined = "make_saliency_pseudo_labels-1" in {node.name for node in build_dag(changed)}
    assert mined == ("targets=prior" in change)


def test_weights_choose_the_networks(images: Path, tmp_path: Path) -> None:
    """All backbones are of the kind that the weights are of: what is installed, unless something else is asked for."""
    (tmp_path / "own.pth").touch()
    lite, mobile, own = "tf_efficientnet_lite0", "mobilenet_v2", str(tmp_path / "own.pth")
    asked = {"packaged": lite, "timm": lite, "torchvision": mobile, own: mobile}
    for number, (weights, name) in enumerate(asked.items()):
        out = tmp_path / f"{number}.yaml"
        reported = write_settings(Sources(images, weights=weights), out)
        assert ("all networks stand on mobilenet_v2" in reported) == (name == mobile)
        config = load_config(out)
        sections = (config.classifier, config.attention, config.saliency, config.cosaliency, config.segmenter)
        assert {(s.backbone.name, s.backbone.weights) for s in sections} == {(name, weights)}
    assert Sources(images).weights == "packaged"
    with pytest.raises(ConfigError, match="--weights none: random weights learn next to nothing"):
        write_settings(Sources(images, weights="none"), tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="gone.pth does not exist"):
        write_settings(Sources(images, weights="gone.pth"), tmp_path / "gone.yaml")


def test_what_is_missing_is_named(images: Path, tmp_path: Path) -> None:
    """A missing folder, table or partner ends with its name and the option to give; nothing is overwritten."""
    out = tmp_path / "out.yaml"
    with pytest.raises(ConfigError, match="no such folder; give the folder of the images"):
        write_settings(Sources(tmp_path / "nowhere"), out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: no image there; an image ends in .jpg, .jpeg, .png"):
        write_settings(Sources(tmp_path / "empty"), out)
    with pytest.raises(ConfigError, match="belong together; give both"):
        write_settings(Sources(images, saliency_images=images), out)
    with pytest.raises(ConfigError, match="gone does not exist"):
        write_settings(Sources(images, saliency_maps=tmp_path / "gone"), out)
    table = images.parent / "labels.csv"
    table.write_text("image_id,class\n")
    with pytest.raises(BadTable, match="unknown column 'class'"):
        write_settings(Sources(images, saliency_maps=images), out)
    table.unlink()
    with pytest.raises(ConfigError, match="no labels.csv there; name the table of image_id,labels with --tags"):
        write_settings(Sources(images), out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(ConfigError, match="exists already; give another name with --out"):
        write_settings(Sources(images), out)
    assert out.read_text() == "mine"


def test_demo_is_drawn_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset is there complete or not at all, is not drawn twice, and the settings point to it."""
    monkeypatch.setattr(drawing.os, "rename", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        draw_demo(tmp_path / ".demo-data")
    assert not (tmp_path / ".demo-data").exists()
    monkeypatch.undo()
    draw = scenes.write_demo
    monkeypatch.setattr(scenes, "write_demo", lambda folder: draw(folder, scenes=3, validation=1, saliency=2, size=80))
    path, changes = demo_settings(tmp_path)
    config = load_config(path, changes)
    assert path == packaged("demo.yaml")
    assert (config.dataset.root / config.dataset.images / "scene_0001.jpg").exists()
    assert config.saliency_set is not None and (config.saliency_set.root / "masks").is_dir()
    monkeypatch.setattr(scenes, "write_demo", lambda folder: pytest.fail("drawn again"))
    assert demo_settings(tmp_path) == (path, changes)


def test_names_in_other_scripts_stay_apart() -> None:
    """Each settings file gives its run another name, in the characters that names have."""
    names = [_run_name(Path(f"{stem}.yaml")) for stem in ("猫", "犬", "café", "cafe", "my data")]
    assert len(set(names)) == 5 and names[3:] == ["cafe", "my-data"]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)
