"""Looking at plans and artifacts: what the commands plan, ls, why, verify, gc and report print."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.delivery import REPORT
from tag2mask.flows.dag.given_inputs import check_given
from tag2mask.flows.dag.planning import plan, settings_changes
from tag2mask.flows.dag.record import latest, records
from tag2mask.flows.engine.console import clock, headline_of, show_table, standard_output, table_of
from tag2mask.flows.engine.garbage import collect as collected
from tag2mask.flows.engine.garbage import holdings_line
from tag2mask.flows.engine.retraining import Retrain
from tag2mask.flows.engine.running import Selection
from tag2mask.tasks.building.opening import NoSuchArtifact
from tag2mask.tasks.catalog import CATALOG, section_of
from tag2mask.tasks.store.store import Artifact, Store


def print_plan(config: Config, root: Path, force: Sequence[str], retrain: Retrain = "when_changed") -> None:
    """Print what a run would do, and why; then refuse, as it would, what it was given and cannot use.

    Raises:
        MissingInput, WeightsError: as a run.
    """
    nodes, store, selection = build_dag(config), Store(root), Selection(force=force, retrain=retrain)
    forced, kept = selection.forced(nodes), selection.kept(nodes, store, config.name)
    rows = plan(nodes, store, latest(root, config.name), force=forced, kept=kept)
    table = table_of("stage", "state", "why")
    for row in rows:
        table.add_row(row.node.name, row.state, row.reason)
    console = standard_output()
    show_table(console, table)
    cached = sum(row.state in ("cached", "kept") for row in rows)
    if not store.root.exists():
        _say(console, f"{root} does not exist yet: a run makes it")
    waiting = sum(row.state == "waits" for row in rows)
    summary = f"{cached} of {len(rows)} stages are up to date, {len(rows) - cached - waiting} would run"
    _say(console, summary + (f", {waiting} depend on what comes out" if waiting else ""))
    if held := holdings_line(root):
        _say(console, held)
    check_given(config, nodes)


def print_artifacts(root: Path, stage: str | None) -> None:
    """Print the artifacts, oldest first.

    Raises:
        NoStore: the folder is not there.
        NoSuchArtifact: there is no such stage.
    """
    found = _listed(root, stage)
    used: dict[str, list[str]] = {}
    for record in records(root):
        for node, label in record.labels.items():
            name = f"{record.name}: {node}"
            used.setdefault(label, [])
            used[label] += [name] if name not in used[label] else []
    table = table_of("artifact", "made", "time", "size", "result", "in runs")
    for artifact in found:
        manifest = artifact.manifest
        size, seconds = f"{manifest['bytes'] / 2**20:.1f} MB", clock(manifest["seconds"])
        made, uses = manifest["made"][:19].replace("T", " "), ", ".join(used.get(artifact.label, ["-"]))
        table.add_row(artifact.label, made, seconds, size, headline_of(manifest["metrics"]), uses)
    console = standard_output()
    show_table(console, table)
    total = sum(artifact.manifest["bytes"] for artifact in found)
    _say(console, f"{len(found)} artifacts, {total / 2**20:.1f} MB")


def _listed(root: Path, stage: str | None) -> list[Artifact]:
    found = Store.existing(root).artifacts(stage)
    if not found and stage is not None and stage not in CATALOG:
        nearest = difflib.get_close_matches(stage, CATALOG, n=1, cutoff=0.0)[0]
        raise NoSuchArtifact(f"no stage {stage!r}; the nearest is {nearest!r}")
    return found


def print_why(root: Path, name: str) -> None:
    """Print what made an artifact.

    Raises:
        NoStore: the folder is not there.
        NoSuchArtifact: nothing has that name.
    """
    store, console = Store.existing(root), standard_output()
    for artifact in artifacts_named(store, name):
        manifest = artifact.manifest
        recipe = manifest["recipe"]
        paths: Mapping[str, str] = manifest["input_paths"]
        inputs = {key: f"{paths[key]} ({digest[:12]})" for key, digest in recipe["inputs"].items()}
        facts = {
            "artifact": artifact.label,
            "folder": str(artifact.path),
            "made": manifest["made"],
            "seconds": manifest["seconds"],
            **{name: manifest[name] for name in ("device", "precision") if name in manifest},
            "stage version": recipe["version"],
            "settings": dict(recipe["config"]),
            "inputs": inputs,
            "images": artifact.images,
            "images taken over": manifest["reused_images"],
            "files": manifest["files"],
            "metrics": dict(manifest["metrics"]),
            "versions": dict(manifest["versions"]),
        }
        _say(console, yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=100))
        for change in _since_before(store, artifact):
            _say(console, f"unlike the one made before: {change}")


def artifacts_named(store: Store, name: str) -> list[Artifact]:
    """Artifacts meant by `stage/key` (the key may be cut short), or by a node or stage of the newest run that has it.

    Raises:
        NoSuchArtifact: nothing has that name.
    """
    stage, slash, key = name.partition("/")
    if slash:
        found = [artifact for artifact in store.artifacts(stage) if artifact.key.startswith(key)]
    else:
        meant: set[str] = set()
        for record in records(store.root):  # the newest comes last
            meant = {n for node, n in record.labels.items() if name in (node, n.partition("/")[0])} or meant
        found = [artifact for artifact in store.artifacts() if artifact.label in meant]
    if not found:
        raise NoSuchArtifact(f"no artifact {name!r} in {store.root}; `tag2mask ls` lists those there are")
    return found


def _since_before(store: Store, artifact: Artifact) -> list[str]:
    """What differs between an artifact's recipe and that of the one its stage made before."""
    earlier = [other for other in store.artifacts(artifact.stage) if _age(other) < _age(artifact)]
    if not earlier:
        return []
    old, new = earlier[-1].manifest["recipe"], artifact.manifest["recipe"]
    changes = settings_changes(section_of(artifact.stage), old["config"], new["config"])
    names = sorted(old["inputs"].keys() | new["inputs"].keys())
    return changes + [f"input {n}: other content" for n in names if old["inputs"].get(n) != new["inputs"].get(n)]


def _age(artifact: Artifact) -> tuple[Any, ...]:
    return artifact.manifest["made"], artifact.label


def print_faults(root: Path) -> int:
    """Read everything again and print what is damaged.  Returns the number of faults.

    Raises:
        NoStore: the folder is not there.
    """
    from tag2mask.tasks.building.maintenance import verify
    from tag2mask.tasks.release.releases import release_faults

    store, console = Store.existing(root), standard_output()
    faults, of_releases = verify(store), release_faults(store)
    for fault in [*faults, *of_releases]:
        _say(console, str(fault))
    damaged = {fault.label for fault in faults}
    sound = len({artifact.label for artifact in store.artifacts()} - damaged)
    _say(console, f"{sound} artifacts are sound, {len(damaged)} damaged")
    if damaged:
        _say(console, "the next run that needs them sets them aside and builds them again")
    spoilt = len({fault.label for fault in of_releases if fault.label.count("/") > 1})
    if spoilt:
        _say(console, f"{spoilt} releases are damaged: move latest to a sound one, delete the folder, publish again")
    return len(faults) + len(of_releases)


def collect(root: Path, keep: int, dry_run: bool) -> None:
    """Delete what none of the newest runs refers to, and say what went.

    Raises:
        NoStore: the folder is not there.
    """
    console = standard_output()
    removed = collected(Store.existing(root), keep, dry_run=dry_run)
    verb = "would delete" if dry_run else "deleted"
    for name, size in removed:
        _say(console, f"{verb} {name} ({size / 2**20:.1f} MB)")
    _say(console, f"{verb} {len(removed)} items, {sum(size for _, size in removed) / 2**20:.1f} MB in all")


def newest_report(root: Path, name: str | None) -> Path:
    """The page of results of the newest run that has one.

    Raises:
        NoSuchArtifact: there is none.
    """
    for record in reversed(records(root, name)):
        label = record.labels.get(REPORT)
        pages = sorted((root / label).glob("*.html")) if label else []
        if pages:
            return pages[0]
    raise NoSuchArtifact(f"no report{f' of a run {name!r}' if name else ''} in {root}; `tag2mask run` makes one")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
