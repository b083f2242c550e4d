"""From labels to releases: numbers, the gate, the pointer, damage, and the collector."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.sections.release import Release as Rules
from tag2mask.tasks.building.maintenance import collect_garbage, verify
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.release.publish import weigh
from tag2mask.tasks.release.releases import (
    KEPT_CANDIDATES,
    NoSuchRelease,
    Releases,
    names,
    pinned_datasets,
    release_faults,
)
from tag2mask.tasks.store.store import DamagedArtifact, Store
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_store import (
    LABELS,
    LENIENT,
    OTHER,
    artifact,
    changed,
    draft_of,
    evaluation_of,
    published,
    toy,
    write_all,
)

STRICT = LENIENT.replaced(maximum_missing_tags=0.0, maximum_wholly_ignored=0.1, maximum_changed_images=0.1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def test_a_release_holds_labels_tables_and_what_made_it(store: Store) -> None:
    """The labels are those of the artifact, and classes, tags, images, signals, report and manifest lie beside them."""
    draft = draft_of(store, LABELS)
    publication = published(store, draft, miou=0.5)
    release = publication.release
    assert (publication.state, release.title, toy(store).latest()) == ("released", "toy@1", 1)
    for image_id, pixels in LABELS.items():
        assert np.array_equal(read_labels(release.path / "labels" / f"{image_id}.png"), pixels)
    found = set(files_of(release.path)) - {f"labels/{image_id}.png" for image_id in LABELS}
    tables = {"classes.csv", "tags.csv", "images.csv"}
    assert found == tables | {"signals.json", "report.html", "comparison.json", "README.txt", "manifest.json"}
    assert (release.path / "classes.csv").read_text().splitlines()[:2] == [
        "number,name,red,green,blue",
        "0,background,0,0,0",
    ]
    assert (release.path / "tags.csv").read_text().splitlines()[0] == "image_id,labels"
    assert json.loads((release.path / "comparison.json").read_text()) == {"before": None}
    assert release.manifest["dataset"] == draft.dataset.label and release.manifest["images"] == len(LABELS)
    signals = {signal["signal"]: signal for signal in release.manifest["gate"]["signals"]}
    assert signals["miou"]["value"] == 0.5 and signals["missing_tags"]["verdict"] == "passed"
    assert release.manifest["gate"]["not_measured"] == ["prediction_agreement", "changed_images", "miou_drop"]


def test_a_release_says_what_people_corrected(store: Store) -> None:
    """The table of corrected images lies in the release, their number in its manifest and in what is printed."""
    draft, table = draft_of(store, LABELS), "image_id,source\np01,PNG\np03,CVAT\n"

    def corrected(out: Path) -> None:
        write_all(out, LABELS)
        (out / "corrections.csv").write_text(table)

    labels = artifact(store, "apply_corrections", corrected, {"dataset": draft.dataset})
    publication = published(store, replace(draft, labels=labels))
    assert (publication.release.path / "corrections.csv").read_text() == table
    assert publication.release.manifest["corrected"] == 2
    assert f"2 of {len(LABELS)} images corrected by hand" in publication.lines()
    assert not (publication.release.path / "labels" / "corrections.csv").exists()


def test_publishing_twice_is_one_release(store: Store) -> None:
    """The same labels keep their number, and nothing in their folder is touched."""
    first = published(store, draft_of(store, LABELS))
    before = files_of(first.release.path)
    second = published(store, draft_of(store, LABELS))
    assert (second.state, second.release.title) == ("unchanged", "toy@1")
    assert toy(store).numbers() == [1] and files_of(first.release.path) == before
    assert second.lines() == ["release: these labels are toy@1 already"]


def test_changed_labels_are_the_next_number_and_say_what_changed(store: Store) -> None:
    """The comparison names the images and the shares of their pixels."""
    published(store, draft_of(store, LABELS, LABELS))
    second = published(store, draft_of(store, OTHER, LABELS))
    assert second.release.title == "toy@2" and toy(store).latest() == 2
    comparison = json.loads((second.release.path / "comparison.json").read_text())
    assert comparison["changed_pixels"] == {"p01": 0.5} and comparison["before"] == "toy@1"
    assert second.release.manifest["changes"] == {"compared": 6, "changed": 1, "added": 0, "removed": 0}
    assert "since toy@1: 1 of 6 images changed, 0 added, 0 removed" in second.lines()


def test_added_and_removed_images_are_reported(store: Store) -> None:
    """Images that one of the two releases lacks are listed, and do not count as changed."""
    published(store, draft_of(store, {i: LABELS[i] for i in ("p00", "p01", "p02")}))
    second = published(store, draft_of(store, {i: LABELS[i] for i in ("p01", "p02", "p03", "p04")}))
    comparison = json.loads((second.release.path / "comparison.json").read_text())
    assert (comparison["added"], comparison["removed"]) == (["p03", "p04"], ["p00"])
    assert comparison["changed_share"] == 0


def test_a_set_that_fails_is_kept_as_a_candidate_and_says_why(store: Store) -> None:
    """The candidate is as whole as a release, has no number, and `latest` stays."""
    published(store, draft_of(store, LABELS, LABELS))
    poor = {**LABELS, "p00": np.full_like(LABELS["p00"], 255)}
    candidate = published(store, draft_of(store, poor, LABELS), STRICT)
    assert candidate.state == "candidate" and candidate.release.number is None
    failures = candidate.release.manifest["gate"]["failures"]
    assert [failure.split()[0] for failure in failures] == ["missing_tags", "wholly_ignored", "changed_images"]
    assert failures[2] == "changed_images 0.167 is above maximum_changed_images 0.1"
    assert f"failed: {failures[0]}" in candidate.lines()
    assert toy(store).numbers() == [1] and toy(store).latest() == 1
    assert release_faults(store) == []
    assert toy(store).read("candidates/" + candidate.release.path.name[:5]).path == candidate.release.path


def test_a_candidate_judged_the_same_is_not_written_again(store: Store) -> None:
    """The folder stays as it is; another gate replaces it, and passing moves it to the releases."""
    rules = LENIENT.replaced(minimum_cam_agreement=1.0, required=("miou",))
    first = published(store, draft_of(store, LABELS), rules)
    inode = first.release.path.stat().st_ino
    again = published(store, draft_of(store, LABELS), rules)
    assert again.release.path.stat().st_ino == inode
    other = published(store, draft_of(store, LABELS), rules.replaced(minimum_cam_agreement=0.9))
    assert other.release.path == first.release.path and other.release.path.stat().st_ino != inode
    passed = published(store, draft_of(store, LABELS))
    assert passed.release.title == "toy@1" and toy(store).candidates() == []


def test_candidates_do_not_pile_up(store: Store) -> None:
    """The newest few stay."""
    rules = LENIENT.replaced(required=("miou",))
    for step in range(KEPT_CANDIDATES + 2):
        published(store, draft_of(store, changed(LABELS, "p01", 0.1 * (step + 1)), LABELS), rules)
    assert len(toy(store).candidates()) == KEPT_CANDIDATES


def test_a_person_can_force_a_release_and_the_reason_is_kept(store: Store) -> None:
    """What failed stands in the manifest beside the reason."""
    rules = LENIENT.replaced(required=("miou",))
    forced = published(store, draft_of(store, LABELS), rules, forced="masks come next week")
    gate = forced.release.manifest["gate"]
    assert forced.state == "released" and gate["forced"] == "masks come next week"
    assert gate["failures"] == ["miou was not measured but is required"]
    assert forced.lines()[0].startswith("released: toy@1, forced: masks come next week")


def test_a_fall_of_the_mean_iou_since_the_last_release_fails(store: Store) -> None:
    """The figure of the release before is read from its manifest, that of the labels from their evaluation."""
    rules = LENIENT.replaced(maximum_miou_drop=0.03)
    published(store, draft_of(store, LABELS, LABELS), rules, miou=0.6)
    worse = published(store, draft_of(store, OTHER, LABELS), rules, miou=0.5)
    assert worse.release.manifest["gate"]["failures"] == ["miou_drop 0.1 is above maximum_miou_drop 0.03"]
    slightly = published(store, draft_of(store, OTHER, LABELS), rules, miou=0.58)
    assert slightly.state == "released"


def test_weighing_says_what_the_gate_would_without_comparing(store: Store) -> None:
    """All but the change is judged, the fall of the mean IoU too, a required change is let pass, nothing is written."""
    rules = LENIENT.replaced(maximum_miou_drop=0.05, maximum_changed_images=0.0, required=["changed_images"])
    published(store, draft_of(store, LABELS), miou=0.5)
    draft, before = draft_of(store, OTHER, LABELS), files_of(store.root / "releases")
    sound = weigh(store, "toy", draft.signals, rules, evaluation=evaluation_of(store, 0.46))
    fallen = weigh(store, "toy", draft.signals, rules, evaluation=evaluation_of(store, 0.44))
    assert sound.failures == [] and "changed_images" in sound.unmeasured
    assert fallen.failures == ["miou_drop 0.06 is above maximum_miou_drop 0.05"]
    assert weigh(store, "other", draft.signals, rules).unmeasured[-3:] == ["changed_images", "miou", "miou_drop"]
    assert files_of(store.root / "releases") == before


def test_rolling_back_sticks_until_there_are_new_labels(store: Store) -> None:
    """`latest` moves back at once; publishing the same labels leaves it there, new ones move it on."""
    published(store, draft_of(store, LABELS, LABELS))
    published(store, draft_of(store, OTHER, LABELS))
    assert toy(store).move_latest(1) == 2
    assert os.readlink(toy(store).folder / "latest") == "1"
    again = published(store, draft_of(store, OTHER, LABELS))
    assert again.lines() == ["release: these labels are toy@2 already; latest stays at 1"]
    third = published(store, draft_of(store, changed(LABELS, "p01", 0.25), LABELS))
    assert third.release.manifest["compared_with"]["title"] == "toy@1" and toy(store).latest() == 3
    assert [(entry["latest"], entry["why"]) for entry in toy(store).history()] == [
        (1, "published"),
        (2, "published"),
        (1, "moved by hand"),
        (3, "published"),
    ]


def test_latest_does_not_move_to_what_is_missing_or_damaged(store: Store) -> None:
    """The message says what there is, or which file is damaged."""
    published(store, draft_of(store, LABELS, LABELS))
    published(store, draft_of(store, OTHER, LABELS))
    with pytest.raises(NoSuchRelease, match="no release toy@7; toy has: 1, 2"):
        toy(store).move_latest(7)
    (toy(store).folder / "1" / "labels" / "p03.png").write_bytes(b"")
    with pytest.raises(DamagedArtifact, match=r"toy@1: labels/p03.png has other bytes.*: latest stays at 2"):
        toy(store).move_latest(1)
    assert toy(store).latest() == 2


@pytest.mark.parametrize("name", ["../toy", ".toy", "a/b"])
def test_a_name_cannot_lead_out_of_the_releases(store: Store, name: str) -> None:
    """Names with a slash or a leading dot are refused."""
    with pytest.raises(NoSuchRelease, match="is no name of a run"):
        Releases(store, name)


@pytest.mark.parametrize(
    ("file", "spoil", "reported"),
    [
        ("labels/p00.png", lambda path: path.write_bytes(b"x"), "labels/p00.png has other bytes"),
        ("labels/p01.png", lambda path: path.unlink(), "labels/p01.png is missing"),
        ("labels/new.png", lambda path: path.write_bytes(b"x"), "labels/new.png does not belong to it"),
        ("manifest.json", lambda path: path.write_text("{}"), "manifest.json cannot be trusted"),
        ("../latest", lambda path: (path.unlink(), path.symlink_to("9")), "latest points to 9, which is no release"),
    ],
)
def test_a_damaged_release_is_noticed(store: Store, file: str, spoil: Callable[[Path], object], reported: str) -> None:
    """Each way of damage is named with the release and the file."""
    release = published(store, draft_of(store, LABELS)).release
    assert release_faults(store) == []
    spoil(release.path / file)
    faults = [str(fault) for fault in release_faults(store)]
    assert len(faults) == 1 and reported in faults[0] and faults[0].startswith("releases/toy")


def test_damaged_labels_are_not_published(store: Store) -> None:
    """A label file that is not what its artifact says stops the publication, and leaves nothing."""
    draft = draft_of(store, LABELS)
    (draft.labels.path / "p02.png").write_bytes(b"x")
    with pytest.raises(DamagedArtifact, match=r"labels/p02.png is not what its artifact says"):
        published(store, draft)
    assert toy(store).numbers() == [] and toy(store).latest() is None


def test_writing_to_a_released_file_does_not_reach_the_store(store: Store) -> None:
    """Released labels are copies: whoever changes one leaves the artifact and the other releases whole."""
    draft = draft_of(store, LABELS)
    with (published(store, draft).release.path / "labels" / "p00.png").open("r+b") as file:
        file.write(b"x")
    assert verify(store) == [] and len(release_faults(store)) == 1


def test_the_collector_keeps_releases_and_their_images(store: Store) -> None:
    """When no run is kept, releases and the datasets that they show are still there, and nothing else."""
    draft = draft_of(store, LABELS)
    release = published(store, draft).release
    before = files_of(release.path)
    collect_garbage(store, keep=lambda: pinned_datasets(store), dry_run=False)
    assert files_of(release.path) == before and release_faults(store) == []
    assert [artifact.label for artifact in store.artifacts()] == [draft.dataset.label]


def test_a_run_named_like_a_key_is_no_artifact(store: Store) -> None:
    """Its releases are neither verified as an artifact nor collected."""
    published(store, draft_of(store, LABELS))
    os.rename(store.root / "releases" / "toy", store.root / "releases" / ("0" * 20))
    collect_garbage(store, keep=lambda: pinned_datasets(store), dry_run=False)
    assert names(store.root) == ["0" * 20] and verify(store) == []


def test_other_tags_make_another_release(store: Store) -> None:
    """Tags belong to what is released: the same maps under other tags get a number of their own."""
    first = published(store, draft_of(store, LABELS, LABELS))
    tagged = {**LABELS, "p00": np.where(LABELS["p00"] == 0, 0, LABELS["p00"] % 3 + 1).astype(np.uint8)}
    other = published(store, draft_of(store, LABELS, tagged), LENIENT.replaced(maximum_untagged=None), forced="tags")
    assert (first.release.number, other.release.number) == (1, 2)


def test_rules_refuse_a_signal_that_does_not_exist() -> None:
    """The settings name the signals that may be required."""
    with pytest.raises(ValueError, match="miuo"):
        Rules.model_validate({"required": ["miuo"]})
