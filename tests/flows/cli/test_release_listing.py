"""The list of releases, and the names by which they are found again."""

from pathlib import Path

import numpy as np
import pytest

from tag2mask.flows.cli.release_listing import label_set, print_releases
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_store import LABELS, LENIENT, changed, draft_of, published

STRICT = LENIENT.replaced(maximum_missing_tags=0.0)


def test_sound_releases_are_listed_beside_a_damaged_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A release whose manifest was changed has its line, which says so, and hides no other."""
    store = Store(tmp_path / "store")
    first = published(store, draft_of(store, LABELS)).release
    published(store, draft_of(store, changed(LABELS, "p01", 0.5)))
    (first.path / "manifest.json").write_text("{}")
    (first.path.parent / "latest").unlink()
    print_releases(store.root, None)
    lines = capsys.readouterr().out.splitlines()
    assert any("toy@1" in line and "damaged" in line for line in lines)
    assert any("toy@2" in line and "passed" in line for line in lines)


def test_a_candidate_is_found_by_the_name_and_the_folder_that_are_shown(tmp_path: Path) -> None:
    """What listings and `publish` print of a candidate can be given to `diff` and `export`."""
    store = Store(tmp_path / "store")
    poor = {**LABELS, "p00": np.full_like(LABELS["p00"], 255)}
    candidate = published(store, draft_of(store, poor, LABELS), STRICT).release
    assert candidate.number is None
    for named in (candidate.title, str(candidate.path)):
        assert label_set(store, named).files.keys() == LABELS.keys()
