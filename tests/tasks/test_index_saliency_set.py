"""The saliency set: images and masks in pairs, masks 0 and 255, and what is wrong named before training."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.schema import SaliencySet
from tag2mask.tasks import index_saliency_set
from tag2mask.tasks.dataset.images import BadImage
from tag2mask.tasks.dataset.ingest import BadDataset
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of, save_bomb, save_image, save_mask, save_turned, truncate

SIZE = (6, 9)
IN_PAIRS = StageRuntime(shard=2)
VALUES = np.resize(np.array([0, 100, 127, 128, 255], np.uint8), SIZE)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four images with masks."""
    for seed, image_id in enumerate("abcd"):
        save_image(tmp_path / "raw" / "images" / f"{image_id}.jpg", seed, SIZE)
        save_mask(tmp_path / "raw" / "masks" / f"{image_id}.png", np.roll(VALUES, seed))
    return tmp_path / "raw"


def index(raw: Path, name: str = "out", runtime: StageRuntime = IN_PAIRS, **settings: Any) -> Path:
    """Index a folder."""
    out = raw.parent / name
    config = SaliencySet(**{"root": raw, "maximum_megapixels": 10.0, **settings})
    index_saliency_set.run(config, out, runtime, images=raw / "images", masks=raw / "masks")
    return out


def table(path: Path) -> list[dict[str, str]]:
    """Lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pairs_are_indexed(raw: Path) -> None:
    """Images keep their bytes, masks become 0 and 255 about the value 127."""
    out = index(raw)
    assert table(out / "index.csv")[0] == {"image_id": "a", "file": "images/a.jpg", "width": "9", "height": "6"}
    assert [line["image_id"] for line in table(out / "index.csv")] == list("abcd")
    for seed, image_id in enumerate("abcd"):
        name = f"images/{image_id}.jpg"
        assert (out / name).read_bytes() == (raw / name).read_bytes()
        expected = np.where(np.roll(VALUES, seed) > 127, 255, 0)
        np.testing.assert_array_equal(read_gray(out / "masks" / f"{image_id}.png"), expected)
    assert json.loads((out / "metrics.json").read_text()) == {"images": 4, "set_aside": 0, "converted": 0}
    assert list(json.loads((out / "items.json").read_text())) == list("abcd")
    assert (out / "set_aside.csv").read_text() == "source,reason\n"


@pytest.mark.parametrize("mode", ["1", "P", "RGB"])
def test_masks_of_other_modes_are_read_by_their_looks(raw: Path, mode: str) -> None:
    """Black-and-white, palette and color masks that look black and white mean the same as gray ones."""
    black_and_white = np.where(VALUES > 127, 255, 0).astype(np.uint8)
    Image.fromarray(black_and_white).convert(mode).save(raw / "masks" / "a.png")
    np.testing.assert_array_equal(read_gray(index(raw) / "masks" / "a.png"), black_and_white)


def test_turned_image_stands_upright(raw: Path) -> None:
    """An image from a turned camera is stored upright, and its mask has that size."""
    save_turned(raw / "images" / "a.jpg", 0, 6, SIZE)
    save_mask(raw / "masks" / "a.png", VALUES.T)
    out = index(raw)
    assert table(out / "index.csv")[0] == {"image_id": "a", "file": "images/a.png", "width": "6", "height": "9"}
    assert json.loads((out / "metrics.json").read_text())["converted"] == 1


def test_mask_without_anything_salient_is_kept(raw: Path) -> None:
    """An image on which nothing stands out has a black mask."""
    save_mask(raw / "masks" / "a.png", VALUES * 0)
    assert read_gray(index(raw) / "masks" / "a.png").max() == 0


@pytest.mark.parametrize("brightest, factor", [(1, 255), (100, 2), (127, 2)])
def test_mask_of_zero_and_one_is_refused(raw: Path, brightest: int, factor: int) -> None:
    """A mask that would come out black although it is not names the remedy."""
    save_mask(raw / "masks" / "b.png", VALUES // 255 * brightest)
    message = rf"1 of 4 .*do not fit:\n.*b\.png: its brightest value is {brightest}, .*multiply it by {factor}"
    with pytest.raises(BadDataset, match=message):
        index(raw, on_bad_image="skip")


def test_transparent_mask_is_refused(raw: Path) -> None:
    """A mask with an alpha channel does not say what is salient."""
    Image.fromarray(VALUES).convert("LA").save(raw / "masks" / "b.png")
    with pytest.raises(BadDataset, match=r"b\.png: has transparency; a mask is 8-bit gray"):
        index(raw)


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_colored_mask_is_refused(raw: Path, mode: str) -> None:
    """A mask of colors, as class masks have them, is not thresholded by how bright its colors are."""
    red = np.zeros((*SIZE, 3), np.uint8)
    red[1:4, 2:7, 0] = 255
    Image.fromarray(red).convert(mode).save(raw / "masks" / "b.png")
    with pytest.raises(
        BadDataset, match=r"1 of 4 .*do not fit:\n.*b\.png: has colors; a mask is 8-bit gray, 0 and 255"
    ):
        index(raw)


def test_mask_of_another_size_is_refused(raw: Path) -> None:
    """All masks of another size are named, with both sizes, even where bad images are skipped."""
    save_mask(raw / "masks" / "b.png", VALUES.T)
    save_mask(raw / "masks" / "d.png", VALUES[1:])
    message = r"2 of 4 .*\n.*b\.png: is 6x9, but b\.jpg is 9x6\n.*d\.png: is 9x5, but d\.jpg is 9x6"
    with pytest.raises(BadDataset, match=message):
        index(raw, on_bad_image="skip")


def test_pairs_must_be_complete(raw: Path) -> None:
    """Images without mask and masks without image are named before anything is copied."""
    (raw / "masks" / "a.png").rename(raw / "masks" / "a.jpg")
    save_mask(raw / "masks" / "z.png", VALUES)
    with pytest.raises(BadDataset) as caught:
        index(raw)
    assert "masks: 1 images have no mask <id>.png (a.jpg: this kind of file is not read): a; add" in str(caught.value)
    assert "images: 1 masks have no image: z; add or remove them" in str(caught.value)
    assert not (raw.parent / "out").exists()


def test_empty_set_is_refused(tmp_path: Path) -> None:
    """Two empty folders are no saliency set."""
    for name in ("images", "masks"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    with pytest.raises(BadDataset, match="the saliency set is empty"):
        index(tmp_path / "raw")


def test_name_that_cannot_be_an_id_is_refused(raw: Path) -> None:
    """File names with control characters are refused, since ids stand in lists, one a line."""
    (raw / "images" / "a.jpg").rename(raw / "images" / "a\n.jpg")
    (raw / "masks" / "a.png").rename(raw / "masks" / "a\n.png")
    with pytest.raises(BadImage, match="names that are not UTF-8, or have control characters"):
        index(raw)


def test_bad_files_end_the_run_or_are_set_aside(raw: Path) -> None:
    """An unreadable image or mask is an error, or is listed by its own name while the rest goes on."""
    truncate(raw / "images" / "a.jpg")
    (raw / "masks" / "b.png").write_bytes(b"")
    save_bomb(raw / "masks" / "d.png", (9_000, 9_000))
    with pytest.raises(BadImage, match=r"3 of 4 images are bad; on_bad_image: skip"):
        index(raw)
    out = index(raw, "skipped", on_bad_image="skip")
    assert [line["image_id"] for line in table(out / "index.csv")] == ["c"]
    aside = {line["source"]: line["reason"] for line in table(out / "set_aside.csv")}
    assert list(aside) == ["a.jpg", "b.png", "d.png"]
    assert "cut short" in aside["a.jpg"] and "empty" in aside["b.png"] and "81.0 megapixels" in aside["d.png"]
    assert [path.name for path in (out / "masks").iterdir()] == ["c.png"]
    truncate(raw / "images" / "c.jpg")
    with pytest.raises(BadDataset, match="all 4 images were set aside"):
        index(raw, "nothing", on_bad_image="skip")


def test_interrupted_run_resumes(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash finished pairs are not read again, and the bytes are those of an undisturbed run."""
    undisturbed = files_of(index(raw, "undisturbed", StageRuntime(workers=3, shard=3)))
    original, read = index_saliency_set.read_mask, []

    def counting(path: Path, **keywords: Any) -> np.ndarray:
        read.append(path.stem)
        if len(read) == 4:
            raise KeyboardInterrupt
        return original(path, **keywords)

    monkeypatch.setattr(index_saliency_set, "read_mask", counting)
    with pytest.raises(KeyboardInterrupt):
        index(raw)
    assert files_of(index(raw)) == undisturbed
    assert set(read[4:]) in ({"d"}, {"c", "d"})  # at most the shard of the crash is repeated


def test_it_says_which_masks_these_are(raw: Path) -> None:
    """The set carries what the settings say of its masks, and where they say nothing, that nobody has."""
    reported = {"about": "drawn by hand", "shows_target_classes": "no"}
    found = [
        json.loads((index(raw, name, **s) / "provenance.json").read_text()) for name, s in (("a", reported), ("b", {}))
    ]
    assert found[0] == {"masks": "drawn by hand", "shows_target_classes": "no", "images": 4}
    assert found[1]["shows_target_classes"] == "unknown" and "saliency_set.about" in found[1]["masks"]
