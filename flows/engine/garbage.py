"""What a store holds, and which of it no kept run needs: said after every run, and collected when asked for."""

from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.flows.dag.record import KEPT_RUNS, kept_labels
from tag2mask.tasks.building.maintenance import collect_garbage, holdings
from tag2mask.tasks.release.releases import pinned_datasets
from tag2mask.tasks.store.store import Store


def kept(store: Store, keep: int = KEPT_RUNS) -> set[str]:
    """`stage/key` of the artifacts that the newest runs and the releases refer to.

    Raises:
        DamagedRecord, DamagedArtifact: a record or a release cannot be read, so that what it needs is unknown.
    """
    return {*kept_labels(store.root, keep), *pinned_datasets(store)}


def collect(store: Store, keep: int = KEPT_RUNS, *, dry_run: bool = False) -> list[tuple[str, int]]:
    """Delete what none of the newest runs needs; what went, and the bytes that it gave back.

    Raises:
        StoreInUse: a run is at work.
        TooMany: there are no records of so many runs.
        DamagedRecord, DamagedArtifact: what a kept run or a release needs is not known; nothing was removed.
    """
    return collect_garbage(store, keep=lambda: kept(store, keep), dry_run=dry_run)


def holdings_line(root: Path) -> str:
    """What a store holds, in a line; which of it can go, unless that is not known.  Empty for an empty store."""
    store = Store(root)
    try:
        found, unneeded = holdings(store, kept(store))
    except UserError:  # `gc` says which record or release cannot be read
        found, unneeded = holdings(store, None)
    if not found:
        return ""
    size = sum(int(artifact.manifest["bytes"]) for artifact in found) / 2**20
    line = f"the store holds {len(found)} artifacts, {size:.1f} MB (files that artifacts share counted in each)"
    return line + (f"; no kept run needs {unneeded} of them: `tag2mask gc`" if unneeded else "")
