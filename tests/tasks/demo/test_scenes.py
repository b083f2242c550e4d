"""The demo data set: what it promises about its files, its tags and its difficulty."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tag2mask.tasks.demo.scenes import CLASSES, MINIMUM_PIXELS, Scene, draw_salient_scene, draw_scene, write_demo


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng([7, number]), size=(112, 144)) for number in range(60)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, scenes=12, validation=4, saliency=5, size=96, seed=3)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_same_arguments_same_bytes(demo: Path, tmp_path: Path) -> None:
    """The same arguments write the same files, byte for byte."""
    write_demo(tmp_path, scenes=12, validation=4, saliency=5, size=96, seed=3)
    assert contents(tmp_path) == contents(demo)


def test_another_seed_draws_other_images(demo: Path, tmp_path: Path) -> None:
    """Another seed draws no image that the first one drew."""
    write_demo(tmp_path, scenes=12, validation=4, saliency=5, size=96, seed=4)
    images = {name: content for name, content in contents(tmp_path).items() if name.endswith(".jpg")}
    assert not set(images.values()) & set(contents(demo).values())


def test_fewer_scenes_are_the_first_ones(demo: Path, tmp_path: Path) -> None:
    """A scene depends on its own number alone, not on how many are asked for."""
    write_demo(tmp_path, scenes=3, validation=1, saliency=2, size=96, seed=3)
    drawn = {name: content for name, content in contents(tmp_path).items() if name.endswith((".jpg", ".png"))}
    assert drawn.items() <= contents(demo).items()


def test_files_match_the_table_and_the_lists(demo: Path) -> None:
    """Ids are unique, each has an image and a mask, and the two lists are disjoint and cover them."""
    rows = [line.split(",") for line in lines(demo / "labels.csv")]
    assert rows[0] == ["image_id", "labels"]
    ids = [row[0] for row in rows[1:]]
    assert len(ids) == len(set(ids)) == 12
    assert {path.name for path in (demo / "images").iterdir()} == {f"{name}.jpg" for name in ids}
    assert {path.name for path in (demo / "masks").iterdir()} == {f"{name}.png" for name in ids}
    train, validation = lines(demo / "train.txt"), lines(demo / "val.txt")
    assert (len(train), len(validation)) == (8, 4)
    assert sorted(train + validation) == sorted(ids)


def test_table_names_the_classes_of_the_mask(demo: Path) -> None:
    """The labels of an image in the table are the classes in its mask file."""
    for line in lines(demo / "labels.csv")[1:]:
        name, labels = line.split(",")
        mask = np.array(Image.open(demo / "masks" / f"{name}.png"))
        assert labels.split() == [CLASSES[index - 1] for index in np.unique(mask) if index > 0]


def test_file_formats(demo: Path) -> None:
    """Images are RGB JPEG, masks palette PNG of the same size, saliency masks gray PNG of 0 and 255."""
    for path in (demo / "images").iterdir():
        image, mask = Image.open(path), Image.open(demo / "masks" / f"{path.stem}.png")
        assert (image.format, image.mode, mask.format, mask.mode) == ("JPEG", "RGB", "PNG", "P")
        assert image.size == mask.size
        assert mask.getpalette()[3:6] == [128, 0, 0]
    for path in (demo / "saliency" / "images").iterdir():
        image, mask = Image.open(path), Image.open(demo / "saliency" / "masks" / f"{path.stem}.png")
        assert (image.format, mask.mode, image.size) == ("JPEG", "L", mask.size)
        assert set(np.unique(np.array(mask))) == {0, 255}


def test_sides_vary_about_the_size_asked_for(demo: Path) -> None:
    """Scenes have several shapes, landscape and portrait among them, within an eighth of the size asked for."""
    sizes = [Image.open(path).size for path in (demo / "images").iterdir()]
    assert set(np.ravel(sizes)) <= {84, 96, 108}
    assert {np.sign(width - height) for width, height in sizes} == {-1, 0, 1}


def test_tags_are_the_classes_that_show(scenes: list[Scene]) -> None:
    """Tags are the classes of the mask in order, at least one, and each shows enough pixels to be seen."""
    for scene in scenes:
        counts = np.bincount(scene.mask.ravel(), minlength=len(CLASSES) + 1)
        assert len(counts) == len(CLASSES) + 1
        assert scene.tags == tuple(name for name, count in zip(CLASSES, counts[1:], strict=True) if count)
        assert scene.tags
        assert (counts[counts > 0] >= MINIMUM_PIXELS).all()


def test_scene_arrays(scenes: list[Scene]) -> None:
    """Image and mask are bytes of the size asked for."""
    for scene in scenes:
        assert (scene.image.shape, scene.image.dtype) == ((112, 144, 3), np.uint8)
        assert (scene.mask.shape, scene.mask.dtype) == ((112, 144), np.uint8)


def test_every_class_is_common(scenes: list[Scene]) -> None:
    """No class is rare: each is in at least an eighth of the scenes, and none in more than two thirds."""
    counts = Counter(name for scene in scenes for name in scene.tags)
    assert all(len(scenes) / 8 <= counts[name] <= len(scenes) * 2 / 3 for name in CLASSES)


def test_scenes_hold_several_sizes(scenes: list[Scene]) -> None:
    """There are scenes with one, two and three classes, objects above 8 % and objects below 2 % of the image."""
    assert {len(scene.tags) for scene in scenes} == {1, 2, 3}
    shares = np.concatenate([np.bincount(scene.mask.ravel())[1:] for scene in scenes]) / scenes[0].mask.size
    assert (shares > 0.08).sum() > 20
    assert ((shares > 0) & (shares < 0.02)).sum() > 20


def test_small_objects_lie_near_the_border(scenes: list[Scene]) -> None:
    """Many small objects lie in the outer fifth of the image, and its border cuts some."""
    near, cut = 0, 0
    for scene in scenes:
        for index in range(1, len(CLASSES) + 1):
            regions, count = ndimage.label(scene.mask == index)
            for region in range(1, count + 1):
                rows, columns = np.nonzero(regions == region)
                small = len(rows) < 0.03 * scene.mask.size
                row, column = rows.mean() / 112, columns.mean() / 144
                near += small and (min(row, column) < 0.2 or max(row, column) > 0.8)
                cut += small and (rows.min() == 0 or columns.min() == 0 or rows.max() == 111 or columns.max() == 143)
    assert near > 20
    assert cut > 3


def test_salient_is_the_one_large_object() -> None:
    """A saliency mask is 0 or 255 and shows one object of a fitting size about the middle."""
    for number in range(30):
        image, mask = draw_salient_scene(np.random.default_rng([8, number]), size=(112, 144))
        assert (image.shape, mask.shape, mask.dtype) == ((112, 144, 3), (112, 144), np.uint8)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.02 < (mask == 255).mean() < 0.25
        row, column = ndimage.center_of_mass(mask)
        assert 0.15 < row / 112 < 0.85 and 0.15 < column / 144 < 0.85


def test_mean_color_does_not_give_the_class_away(scenes: list[Scene]) -> None:
    """Naming an object after the one of most similar mean color is wrong more often than right, even with its mask."""
    objects = [
        (scene.image[scene.mask == index].mean(axis=0), index)
        for scene in scenes
        for index in np.unique(scene.mask)[1:]
    ]
    colors, classes = np.array([color for color, _ in objects]), np.array([index for _, index in objects])
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (classes[distance.argmin(axis=1)] == classes).mean() < 0.5


@pytest.mark.parametrize("draw", [draw_scene, draw_salient_scene])
def test_refuses_a_tiny_size(draw: Callable[..., object]) -> None:
    """A side too short for small objects is refused with the smallest one that is not."""
    with pytest.raises(ValueError, match="at least 64"):
        draw(np.random.default_rng(0), size=(128, 63))


def test_refuses_validation_that_leaves_no_training(tmp_path: Path) -> None:
    """All scenes in the validation list is an error, and nothing is written."""
    with pytest.raises(ValueError, match="below scenes=5"):
        write_demo(tmp_path, scenes=5, validation=5)
    assert not list(tmp_path.iterdir())


def test_refuses_a_folder_with_demo_data(demo: Path) -> None:
    """A folder that holds demo data is not mixed with new data; the message names what is in the way."""
    before = contents(demo)
    with pytest.raises(FileExistsError, match="images exists already"):
        write_demo(demo, scenes=2, validation=1, saliency=1)
    assert contents(demo) == before
