"""`latest` and its history, lost, replaced and damaged: nothing moves without a word, and one command mends it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tag2mask.tasks.release.releases import Releases, release_faults
from tag2mask.tasks.store.manifest import DamagedArtifact
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_store import LABELS, LENIENT, OTHER, changed, draft_of, published, toy

THIRD = changed(LABELS, "p01", 0.25)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two releases, of which the first is to be used again."""
    store = Store(tmp_path_factory.mktemp("drawn") / "store")
    for labels in (LABELS, OTHER):
        published(store, draft_of(store, labels, LABELS))
    draft_of(store, THIRD, LABELS)
    toy(store).move_latest(1)
    return store.root


@pytest.fixture
def store(drawn: Path, tmp_path: Path) -> Store:
    """A copy of it."""
    shutil.copytree(drawn, tmp_path / "store", symlinks=True)
    return Store(tmp_path / "store")


def replace_link(folder: Path, target: str) -> None:
    (folder / "latest").unlink()
    (folder / "latest").symlink_to(target)


def turn_bit(folder: Path) -> None:
    """Let the history list a release that there is none of, in the place of the second."""
    path = folder / "history.json"
    path.write_text(path.read_text().replace('"latest": 2', '"latest": 3'))


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no history": (lambda folder: (folder / "history.json").unlink(), "history.json is missing"),
    "emptied": (lambda folder: os.truncate(folder / "history.json", 0), "history.json cannot be read"),
    "cut short": (lambda folder: os.truncate(folder / "history.json", 40), "history.json cannot be read"),
    "a list": (lambda folder: (folder / "history.json").write_text("[]"), "history.json was changed after it was"),
    "turned bit": (turn_bit, "history.json was changed after it was"),
    "no link": (lambda folder: (folder / "latest").unlink(), "latest is missing; last it pointed to 1"),
    "another link": (lambda folder: replace_link(folder, "2"), "latest points to 2, but last it was moved to 1"),
    "link to nothing": (lambda folder: replace_link(folder, "7"), "latest points to 7, which is no release"),
    "link to a name": (lambda folder: replace_link(folder, "../x"), "latest points to '../x', which is no release"),
    "a file": (
        lambda folder: ((folder / "latest").unlink(), (folder / "latest").touch()),
        "latest is no symbolic link",
    ),
    "neither": (
        lambda folder: ((folder / "latest").unlink(), (folder / "history.json").unlink()),
        "history.json is missing",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_or_changed_pointer_stops_publishing_until_a_person_says_what_was_meant(store: Store, loss: str) -> None:
    """`verify` and `publish` name what is wrong and the command that mends it; nothing moves before, all does after."""
    releases = toy(store)
    spoil, reported = LOSSES[loss]
    spoil(releases.folder)
    before, link = files_of(releases.folder), os.path.lexists(releases.folder / "latest")
    (fault,) = map(str, release_faults(store))
    assert fault.startswith(f"releases/toy: {reported}") and "`tag2mask latest toy " in fault
    for labels in (OTHER, THIRD):
        with pytest.raises(DamagedArtifact, match=r"releases/toy: .*say which release.*`tag2mask latest toy [12]`"):
            published(store, draft_of(store, labels, LABELS))
    assert files_of(releases.folder) == before and os.path.lexists(releases.folder / "latest") == link
    releases.move_latest(1)
    assert release_faults(store) == [] and releases.latest() == 1
    assert published(store, draft_of(store, OTHER, LABELS)).latest == 1
    assert published(store, draft_of(store, THIRD, LABELS)).latest == 3
    assert [entry["latest"] for entry in releases.history()][:2] == [1, 2] and release_faults(store) == []


def test_the_likely_release_is_proposed(store: Store) -> None:
    """The command that is named has what the link still says, else what the history says, else the newest release."""
    folder = toy(store).folder
    (folder / "history.json").unlink()
    assert str(release_faults(store)[0]).endswith("`tag2mask latest toy 1`")
    (folder / "latest").unlink()
    assert str(release_faults(store)[0]).endswith("`tag2mask latest toy 2`")


def test_a_folder_in_the_place_of_the_link_is_left_alone(store: Store) -> None:
    """A copy of a release that stands where the link should be is named, and nobody overwrites it."""
    folder = toy(store).folder
    (folder / "latest").unlink()
    shutil.copytree(folder / "2", folder / "latest")
    with pytest.raises(DamagedArtifact, match="latest is no symbolic link"):
        published(store, draft_of(store, THIRD, LABELS))
    with pytest.raises(DamagedArtifact, match="latest is a folder, where the link should be: move it away"):
        toy(store).move_latest(1)


def test_a_damaged_release_is_reported_by_publish_and_not_taken_for_sound(store: Store) -> None:
    """Its labels published again are a new release; the damaged one is named, whether or not anything is new."""
    (toy(store).folder / "2" / "labels" / "p03.png").write_bytes(b"x")
    again = published(store, draft_of(store, OTHER, LABELS))
    assert again.release.title == "toy@3" and again.latest == 3
    damaged = [line for line in again.lines() if line.startswith("damaged: ")]
    reported = "releases/toy/2: labels/p03.png has other bytes than when it was made"
    assert damaged == [f"damaged: {reported}: not compared with, delete its folder"]
    unchanged = published(store, draft_of(store, OTHER, LABELS))
    assert unchanged.lines() == ["release: these labels are toy@3 already", *damaged]
    (toy(store).folder / "2" / "manifest.json").write_text("{}")
    assert "releases/toy/2: manifest.json cannot be trusted" in published(store, draft_of(store, OTHER)).lines()[-1]


def test_a_damaged_latest_release_is_not_compared_with(store: Store) -> None:
    """Publishing stops at it and names the sound one to move to, and where there is none the folder to delete."""
    (toy(store).folder / "1" / "labels" / "p03.png").unlink()
    with pytest.raises(
        DamagedArtifact, match=r"toy/1: labels/p03.png is missing: it is the latest .*`tag2mask latest toy 2`"
    ):
        published(store, draft_of(store, THIRD, LABELS))
    toy(store).move_latest(2)
    assert published(store, draft_of(store, THIRD, LABELS)).release.manifest["compared_with"]["title"] == "toy@2"
    for number in (2, 3):
        (toy(store).folder / str(number) / "labels" / "p03.png").unlink()
    with pytest.raises(DamagedArtifact, match=r"toy/3: labels/p03.png is missing.*: delete .*toy/3, and publish again"):
        published(store, draft_of(store, OTHER, LABELS))


def test_after_all_releases_are_deleted_numbers_go_on(store: Store) -> None:
    """Publishing begins anew although link and history name releases that are gone, and gives no number twice."""
    for number in (1, 2):
        shutil.rmtree(toy(store).folder / str(number))
    assert "latest points to 1, which is no release: delete " in str(release_faults(store)[0])
    assert published(store, draft_of(store, LABELS)).release.title == "toy@3" and toy(store).latest() == 3
    assert release_faults(store) == []


def test_candidates_are_dropped_in_the_order_in_which_they_came(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate made while the clock was in the future does not push out those that come after it."""
    from tag2mask.tasks.release import releases as module

    rules = LENIENT.replaced(required=("miou",))
    times = iter(f"{year}-01-01T00:00:00.000000Z" for year in (2099, 2024, 2025, 2026, 2027))
    monkeypatch.setattr(module, "now", lambda: next(times))
    made = []
    for share in (0.1, 0.2, 0.4, 0.6, 0.7):
        publication = published(store, draft_of(store, changed(LABELS, "p02", share), LABELS), rules)
        made.append(publication.release.path.name)
    assert [candidate.path.name for candidate in Releases(store, "toy").candidates()] == made[-3:]
