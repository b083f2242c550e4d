"""Paths that begin with `~`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.home_folder import NoHomeFolder, expanded
from tag2mask.flows.saliency_maps import model_folder
from tag2mask.flows.using.trained_models import named_segmenter
from tag2mask.tasks.exports.released_images import read_release
from tag2mask.tasks.prediction.image_files import images_named

NOBODY = "~nobody-at-all/x"


def test_home_folder_is_put_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`~` is the user's home folder, and every other path stays as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a" and expanded("~") == tmp_path
    assert expanded("a/~") == Path("a/~") and expanded(Path("/a")) == Path("/a")


@pytest.mark.parametrize(
    "given",
    [
        lambda: images_named([NOBODY]),
        lambda: named_segmenter(NOBODY, Path()),
        lambda: model_folder(Path(NOBODY), Path()),
        lambda: read_release(NOBODY),
    ],
)
def test_user_without_home_is_named(given: Callable[[], Any]) -> None:
    """Images, models and releases below the home folder of a user who has none are refused with one legible line."""
    with pytest.raises(NoHomeFolder, match="~nobody-at-all/x: ~nobody-at-all has no home folder here; write the path"):
        given()
