"""The record of a run, `<root>/.runs/<name>/<time>.json`: what was asked for and which artifact each node ended with.

`plan` compares with the newest one, and `gc` keeps what the newest few refer to.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.configs.schema import Config
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.tasks.store.files import read_json, write_file, write_json

KEPT_RECORDS = 3
"""Records of different results that are kept per run name."""
RUNS = ".runs"


@dataclass(frozen=True)
class RunRecord:
    """One run of one configuration."""

    path: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.name

    @property
    def nodes(self) -> Mapping[str, Mapping[str, Any]]:
        """Node -> {state, and where it has an artifact: artifact, recipe, cached, seconds}."""
        return self.content["nodes"]  # type: ignore[no-any-return]

    @property
    def labels(self) -> dict[str, str]:
        """Node -> `stage/key` of its artifact."""
        return {name: entry["artifact"] for name, entry in self.nodes.items() if "artifact" in entry}


def records(root: Path, name: str | None = None) -> list[RunRecord]:
    """Readable records, oldest first."""
    return list(_readable(sorted((root / RUNS).glob(f"{name or '*'}/*.json"), key=lambda path: path.name)))


def latest(root: Path, name: str) -> RunRecord | None:
    """The newest record of a name."""
    found = records(root, name)
    return found[-1] if found else None


def kept_labels(root: Path, keep: int = KEPT_RECORDS) -> set[str]:
    """`stage/key` of all artifacts that the newest records of every name refer to."""
    by_name: dict[str, list[RunRecord]] = {}
    for record in records(root):
        by_name.setdefault(record.name, []).append(record)
    return {label for group in by_name.values() for record in group[-keep:] for label in record.labels.values()}


def write_record(root: Path, config: Config, result: RunResult, started: float, *, stopped: bool = False) -> RunRecord:
    """Write the record of a run and drop old ones.

    A run that ended with the same artifacts as the one before takes its place, so that repeating a cached run does not
    push others out.

    Args:
        root: the store's folder.
        config: the settings.
        result: how the run ended.
        started: seconds since the epoch.
        stopped: whether it was interrupted.
    """
    nodes = {name: _built_entry(outcome) for name, outcome in result.outcomes.items()}
    for name, failure in result.failures.items():
        nodes[name] = {"state": "failed" if failure.started else "not run", "message": failure.message}
    content = {
        "config": config.model_dump(mode="json"),
        "nodes": nodes,
        "images": result.images,
        "state": "stopped" if stopped else "failed" if result.failures else "complete",
        "started": _time(started),
        "finished": _time(time.time()),
    }
    before = latest(root, config.name)
    record = RunRecord(_fresh_path(root / RUNS / config.name), content)
    write_json(record.path, content)
    if before is not None and before.labels == record.labels:
        before.path.unlink(missing_ok=True)
    for old in records(root, config.name)[:-KEPT_RECORDS]:
        old.path.unlink(missing_ok=True)
        old.path.with_suffix(".log").unlink(missing_ok=True)
    return record


def note_in_record(record: RunRecord, **facts: Any) -> None:
    """Add facts to a record, such as what became of the run's labels."""
    write_json(record.path, {**record.content, **facts})


def write_failure_log(record: RunRecord, result: RunResult) -> Path | None:
    """Write the full tracebacks of a run's failures beside its record; where, or None if there were none."""
    parts = [f"{name}: {failure.message}\n{failure.trace}\n" for name, failure in result.failures.items()]
    if not parts:
        return None
    path = record.path.with_suffix(".log")
    write_file(path, lambda file: file.write("\n".join(parts).encode()))
    return path


def _built_entry(outcome: Any) -> dict[str, Any]:
    return {
        "state": "kept" if outcome.kept else "cached" if outcome.cached else "built",
        "artifact": outcome.artifact.label,
        "recipe": outcome.artifact.manifest["recipe"],
        "seconds": round(outcome.seconds, 3),
    }


def _fresh_path(folder: Path) -> Path:
    """A name that sorts by time and that nobody else has."""
    now = time.time()
    return folder / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z.json"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _readable(paths: list[Path]) -> Iterator[RunRecord]:
    for path in paths:
        try:
            yield RunRecord(path, read_json(path))
        except (OSError, ValueError):
            continue  # removed by a run beside us
