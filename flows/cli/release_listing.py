"""What the commands about releases print and write."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tag2mask.configs.errors import UserError
from tag2mask.configs.runtime import available_cores
from tag2mask.configs.schema import Config
from tag2mask.flows.cli.listing import artifacts_named
from tag2mask.flows.engine.console import show_table, standard_output, table_of
from tag2mask.tasks.building.opening import open_artifact
from tag2mask.tasks.catalog.formats import ReleaseFormat, ReleaseImages
from tag2mask.tasks.release.gate import signal_rows
from tag2mask.tasks.release.latest import LATEST
from tag2mask.tasks.release.releases import NoSuchRelease, Release, Releases, names
from tag2mask.tasks.store.files import write_file, write_json
from tag2mask.tasks.store.store import DamagedArtifact, Store

if TYPE_CHECKING:
    from tag2mask.tasks.release.label_sets import LabelSet
    from tag2mask.tasks.release.publish import Publication

T = TypeVar("T")
SHOWN = 10
"""Changed images that `diff` prints."""
PICTURE_SIDE = 260
"""Long side of a picture of `diff`, in pixels."""


class NotAFolder(UserError, ValueError):
    """A file stands where a folder would be made; the message names it."""


def print_publication(publication: "Publication") -> None:
    """Print what became of a label set, and its signals."""
    for line in publication.lines():
        _say(line)
    _print_signals(publication.release)


def print_releases(root: Path, name: str | None) -> None:
    """Print the releases, and the signals of the newest set of one name.

    Raises:
        NoStore: the folder is not there.
        NoSuchRelease: the name has none.
    """
    store, known = Store.existing(root), names(root)
    if name is not None and name not in known:
        raise NoSuchRelease(f"no release of {name!r} in {root}; names with releases: {', '.join(known) or 'none'}")
    table = table_of("release", "", "made", "images", "changed", "gate")
    shown: list[Release] = []
    for each in [name] if name is not None else known:
        releases = Releases(store, each)
        latest = _sound(releases.latest)
        numbered = {number: _sound(partial(releases.read, number)) for number in releases.numbers()}
        found = [*filter(None, numbered.values()), *releases.candidates()]
        for number, release in numbered.items():
            if release is None:
                table.add_row(f"{each}@{number}", "", "", "", "", "damaged: see tag2mask verify")
        for release in found:
            mark = LATEST if release.number and release.number == latest else ""
            table.add_row(release.title, mark, *_row(release))
        shown += sorted(found, key=lambda release: (release.manifest["made"], release.number or 0))[-1:]
    show_table(standard_output(), table)
    if name is not None:
        for release in shown:
            _say(f"\nsignals of the newest, {release.title}:")
            _print_signals(release)


def _sound(read: Callable[[], T]) -> T | None:
    """What is read; None where it is damaged, so that the sound ones can still be seen."""
    try:
        return read()
    except DamagedArtifact:
        return None


def _row(release: Release) -> tuple[str, str, str, str]:
    manifest = release.manifest
    changes, gate = manifest["changes"], manifest["gate"]
    forced = "" if gate["forced"] is None else f"forced: {gate['forced'].strip() or 'no reason given'}"
    names_of_failed = [failure.split()[0] for failure in gate["failures"]]
    failed = f"failed: {', '.join(names_of_failed)}" if names_of_failed else ""
    verdict = "; ".join(filter(None, (forced, failed))) or "passed"
    missing = f" (not measured: {', '.join(gate['not_measured'])})" if gate["not_measured"] else ""
    changed = "–" if changes is None else f"{changes['changed']} of {changes['compared']}"
    return manifest["made"][:19].replace("T", " "), str(manifest["images"]), changed, verdict + missing


def _print_signals(release: Release) -> None:
    table = table_of("signal", "value", "threshold", "verdict")
    for row in signal_rows(release.manifest["gate"]["signals"]):
        table.add_row(*row)
    show_table(standard_output(), table)


def move_latest(root: Path, name: str, number: int | None) -> str:
    """Move `latest`, or without a number say where it is; what to print.

    Raises:
        NoStore: the folder is not there.
        NoSuchRelease: there is no such release.
        DamagedArtifact: it is damaged; `latest` stays.
    """
    releases = Releases(Store.existing(root), name)
    if number is None:
        return f"{name}@{releases.read(LATEST).number} ({releases.folder / LATEST})"
    before = releases.move_latest(number)
    was = "link and history are written anew" if before is None else str(before)
    return f"latest of {name}: {was} → {number}"


def write_diff(root: Path, before: str, after: str, out: Path | None, threshold: float, pictures: int) -> None:
    """Compare two label sets, write the page and the tables, and print what matters most.

    Raises:
        NoStore, NoSuchRelease, NoSuchArtifact, NoLabels: a set that is not there.
        DamagedArtifact: a release of which a label map is missing.
        NotAFolder: a file stands where the page and the tables would be written.
        ValueError: a label map that cannot be read.
    """
    from tag2mask.tasks.dataset.tables import write_table
    from tag2mask.tasks.release.comparison import compare
    from tag2mask.tasks.release.comparison_page import comparison_page

    store = Store(root)
    old, new = label_set(store, before, after), label_set(store, after, before)
    folder = out or Path("diff-" + "-".join(text.replace("/", "_") for text in (old.title, new.title)))
    _check_folder(folder)
    comparison = compare(old, new, threads=available_cores())
    page = comparison_page(comparison, old, new, threshold=threshold, pictures=pictures, side=PICTURE_SIDE)
    write_json(folder / "comparison.json", {**comparison.summary(threshold), "per_class": comparison.class_rows()})
    write_table(folder / "images.csv", comparison.image_rows())
    write_table(folder / "classes.csv", comparison.class_rows())
    write_file(folder / "comparison.html", lambda file: file.write(page.encode()))
    summary = comparison.summary(threshold)
    for image in comparison.changed(0.0)[:SHOWN]:
        _say(f"{image.image_id}  {100 * image.share:.1f} %")
    changed = f"{summary['changed']} of {summary['compared']} images changed by more than {100 * threshold:g} %"
    _say(
        f"{changed}, {summary['touched']} in any pixel; "
        f"{len(comparison.added)} added, {len(comparison.removed)} removed"
    )
    _say(f"page: {folder / 'comparison.html'}")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made because a file has its name, or that of one above it."""
    standing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not standing.is_dir():
        raise NotAFolder(f"--out {folder}: {standing} is a file; name a folder to write page and tables to")


def label_set(store: Store, text: str, other: str = "") -> "LabelSet":
    """The label set that a text means: an existing folder, `name@number`, `stage/key`, or a bare number or `latest`.

    Args:
        store: where releases and artifacts are.
        text: what was written; a folder whose name is a bare number is written `./3`.
        other: the set that it is compared with, whose release gives a bare number its name.

    Raises:
        NoStore, NoSuchRelease, NoSuchArtifact, NoLabels: there is none.
    """
    from tag2mask.tasks.release.label_sets import LabelSet

    bare = _is_bare(text)
    if not bare and Path(text).is_dir():
        return LabelSet.of_folder(Path(text))
    Store.existing(store.root)
    if not bare and "@" not in text:
        found = open_artifact(text, store.root) if "/" in text else artifacts_named(store, text)[-1]
        return LabelSet.of_artifact(found, store.root)
    name, at, _ = other.partition("@")
    named = bare and at and not Path(other).is_dir()
    release = find_release(store, f"{name}@{text}" if named else text)
    return LabelSet.of_release(release.path, release.manifest, store.root, release.title)


def _is_bare(text: str) -> bool:
    """Whether a text names a release without its name."""
    return text.isdecimal() or text == LATEST


def find_release(store: Store, text: str) -> Release:
    """The release that `name@3`, `name@latest`, or `name` means; with one name in the store `3` or `latest` is enough.

    Raises:
        NoSuchRelease: there is none.
    """
    name, at, number = text.partition("@")
    known = names(store.root)
    if not at and _is_bare(name) and name not in known:
        name, number = "", name
    if not name and len(known) == 1:
        name = known[0]
    if not name:
        raise NoSuchRelease(f"{text}: write name@number; names with releases: {', '.join(known) or 'none'}")
    if number and not number.isdecimal() and number != LATEST and not number.startswith("candidates/"):
        raise NoSuchRelease(f"{text}: after @ stands a number, {LATEST}, or candidates/DIGEST")
    return Releases(store, name).read(int(number) if number.isdecimal() else number or LATEST)


def export_release(
    root: Path,
    text: str,
    out: Path,
    form: ReleaseFormat,
    images: ReleaseImages,
) -> str:
    """Export a release; what to print.

    Raises:
        NoStore, NoSuchRelease, CannotExport, FolderInTheWay, DamagedArtifact, NoRoomOnDisk: nothing was written.
    """
    from tag2mask.tasks.exports.export import export

    store = Store.existing(root)
    release = find_release(store, text)
    made = export(store, release, out.absolute(), form, images)
    return "\n".join([f"{release.title}: {made.images} images written to {out} ({form})", *made.losses])


def write_test_predictions(config: Config, root: Path, out: Path) -> str:
    """Write what the delivered segmenter of a finished run predicts for the test split; what to print.

    Raises:
        CannotExport: the settings name no test split, or the predictions do not make a whole submission.
        NoStore, NothingToPublish, FolderInTheWay, NoRoomOnDisk: nothing was written.
    """
    from tag2mask.flows.dag.delivery import TEST
    from tag2mask.flows.engine.publishing import delivered, finished
    from tag2mask.tasks.exports.export_set import CannotExport
    from tag2mask.tasks.exports.submission import PLACE, write_submission

    if config.dataset.test_split is None:
        raise CannotExport(f"{config.name}: dataset.test_split names no list of test images, so none are predicted")
    predicted = str(delivered(config).test_predictions)
    made = finished(config, Store.existing(root), (TEST, predicted))
    count = write_submission(made[TEST].path, made[predicted].path, out.absolute())
    return f"{config.name}: {count} predictions of {made[predicted].label} written to {out / PLACE}"


def _say(line: str) -> None:
    standard_output().print(line, markup=False, highlight=False, soft_wrap=True)
