"""The loop with people: what to correct is exported, and what was corrected imported."""

from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.configs.load import validated
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.delivery import DATASET, delivery
from tag2mask.flows.dag.record import RunRecord, records
from tag2mask.tasks.catalog.formats import CORRECTED, ReviewChoice, ReviewFormat
from tag2mask.tasks.corrections.taking_back import read_review, take_back
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import CORRECTED_TABLE
from tag2mask.tasks.dataset.tables import read_table
from tag2mask.tasks.exports.export_set import ExportSet
from tag2mask.tasks.exports.review import choose, write_review
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.store import Store

USUAL = "corrections"
"""Folder of corrections below the dataset, where the settings name none."""

ORDER: dict[ReviewChoice, str] = {"least-certain": "the least certain first", "random": "drawn at random"}
"""What is said of the images that were chosen."""


class NothingToReview(UserError, ValueError):
    """A run has nothing that could be reviewed; the message says why."""


def review(
    root: Path, name: str, count: int, form: ReviewFormat, out: Path, choice: ReviewChoice = "least-certain"
) -> str:
    """Write images of a run to be corrected; what to print.

    Args:
        root: folder of the store.
        name: of the run.
        count: images at most.
        form: what the masks are corrected with.
        out: folder to write; it must not exist, or be empty.
        choice: which images.

    Raises:
        NoStore, NothingToReview, CannotExport, FolderInTheWay, DamagedArtifact, NoRoomOnDisk: nothing was written.
        ConfigError: the run's settings are those of another version.
    """
    store = Store.existing(root)
    record, config = _last_run(store, name)
    made = delivery(build_dag(config))
    if made is None:
        raise NothingToReview(f"{name}: makes no labels: set dataset.tags")
    artifacts = {node: _artifact(store, record, node) for node in (DATASET, made.labels, made.confidence)}
    labels = LabelSet.of_artifact(artifacts[made.labels], store.root)
    index = ImageIndex.read(artifacts[DATASET].path).split("train")
    corrected = corrected_images(
        artifacts[made.labels].path, config.dataset.root / (config.dataset.corrections or USUAL)
    )
    chosen, rows = choose(artifacts[made.confidence].path / "confidence.csv", count, corrected, choice)
    origin = {"run": name, "labels": artifacts[made.labels].label, "dataset": artifacts[DATASET].label}
    write_review(ExportSet(name, labels, index.only(chosen), "copy", origin), out.absolute(), form, rows, name)
    aside = f", {len(corrected)} corrected before are left out" if corrected else ""
    return "\n".join(
        [
            f"{name}: {len(chosen)} of {len(index)} images written to {out} ({form}), {ORDER[choice]}{aside}",
            f"put what was corrected into {out / CORRECTED}, then: tag2mask corrections {out}",
        ]
    )


def take_corrections(root: Path, folder: Path, into: Path | None) -> str:
    """Take the corrected masks of a review back; what to print.

    Args:
        root: folder of the store.
        folder: of the review.
        into: folder of corrections; None: that of the run's settings, or `corrections` below its dataset.

    Raises:
        NoStore, NothingToReview, BadCorrection, BadTable, NoRoomOnDisk: nothing was taken.
        ConfigError: the run's settings are those of another version, and no folder is named.
    """
    name = read_review(folder)["run"]
    hint = ""
    if into is None:
        _, config = _last_run(Store.existing(root), name)
        data = config.dataset
        into = data.root / (data.corrections or USUAL)
        if data.corrections is None:
            hint = f"\nto use them, write into the settings: dataset.corrections: {USUAL}"
    taken = take_back(folder, into.absolute())
    hint = hint if taken.taken else ""
    same = f"; {taken.as_they_were} came back as they were and count as not looked at" if taken.as_they_were else ""
    again = f"; {taken.replaced} of them take the place of earlier corrections" if taken.replaced else ""
    return f"{len(taken.taken)} masks corrected with {taken.source} taken into {into}{again}{same}{hint}"


def _last_run(store: Store, name: str) -> tuple[RunRecord, Config]:
    found = records(store.root, name)
    if not found:
        raise NothingToReview(f"no run of the name {name!r} in {store.root}; `tag2mask run` its settings first")
    record = next((record for record in reversed(found) if record.whole), found[-1])  # a part of a run lacks results
    return record, validated(Config, record.content["config"], record.path)


def _artifact(store: Store, record: RunRecord, node: str) -> Artifact:
    """What a node of a run made, looked over."""
    label = record.labels.get(node)
    found = store.find(*label.split("/")) if label is not None else None
    if found is None:
        raise NothingToReview(
            f"{node} of the last run of {record.name} is not there; `tag2mask run` its settings again"
        )
    return found


def corrected_images(labels: Path, folder: Path) -> list[str]:
    """Ids that were corrected already: those of a run's labels, and those taken back since."""
    tables = [table for table in (labels / CORRECTED_TABLE, folder / CORRECTED_TABLE) if table.is_file()]
    return sorted({row["image_id"] for table in tables for row in read_table(table)})
