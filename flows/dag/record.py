"""The record of a run, `<root>/.runs/<name>/<number>-<time>.json`: what was asked for, and what each node ended with.

`plan` compares with the newest one, and `gc` keeps what the newest few refer to: the newest of all, and the newest of
those that are whole, so that nothing that fails, is stopped or builds one stage costs what a whole run has made.  Which
is newer the number says, one more than that of the run before: clocks jump.  Records are sealed like manifests.
"""

import calendar
import glob
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tag2mask.configs.errors import UserError
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.outcome import Outcome, RunResult
from tag2mask.tasks.store.files import read_json, write_file, write_json
from tag2mask.tasks.store.locks import hold
from tag2mask.tasks.store.manifest import seal_of

KEPT_RUNS = 3
"""Newest runs of a name whose artifacts stay, and as many whole ones, unless `gc` is asked for another number."""
MOST_RUNS = 12
"""Newest records of a name that stay, and as many of whole runs: the most that `gc` can be asked for."""
RUNS = ".runs"
JUMP_SECONDS = 60.0
"""A clock this far behind the record of an earlier run has jumped; less is what setting it by the network does."""
_NAME = re.compile(r"(\d+)-(\d{8}T\d{6})\.\d{6}Z\.json")
_named: set[Path] = set()  # damaged records of which this process has said so
log = logging.getLogger("tag2mask")


class TooMany(UserError, ValueError):
    """More runs are to be kept than there are records of."""


class DamagedRecord(UserError, ValueError):
    """A file among the records of runs is none."""


@dataclass(frozen=True)
class RunRecord:
    """One run of one configuration."""

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            DamagedRecord: it is none, or was changed; the message names it.
            FileNotFoundError: it was removed.
        """
        try:
            content = read_json(path)
            sound = isinstance(content, dict) and content.get("seal") == seal_of(content)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise DamagedRecord(f"{path}: cannot be read as the record of a run ({reason})") from error
        if not sound:
            raise DamagedRecord(f"{path}: is no record of a run, or was changed after it was written")
        return cls(path, content)

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.name

    @property
    def nodes(self) -> Mapping[str, Mapping[str, Any]]:
        """Node -> {state, and where it has an artifact: artifact, recipe, cached, seconds}."""
        return self.content["nodes"]  # type: ignore[no-any-return]

    @property
    def whole(self) -> bool:
        """Whether every stage of its settings has a result."""
        return bool(self.content.get("whole", self.content.get("state") == "complete"))

    @property
    def labels(self) -> dict[str, str]:
        """Node -> `stage/key` of its artifact."""
        return {name: entry["artifact"] for name, entry in self.nodes.items() if "artifact" in entry}


def records(root: Path, name: str | None = None) -> list[RunRecord]:
    """The records, oldest first; a damaged one is named in the log, and left out."""
    return list(_read(_paths(root, name)))


def _read(paths: Iterable[Path]) -> Iterator[RunRecord]:
    """The sound records among some files, as they are asked for."""
    for path in paths:
        try:
            yield RunRecord.read(path)
        except FileNotFoundError:
            continue  # removed by a run beside us
        except DamagedRecord as error:
            if path not in _named:
                log.warning("%s; it is left out", error)
            _named.add(path)


def latest(root: Path, name: str) -> RunRecord | None:
    """The newest record of a name."""
    return next(_read(reversed(_paths(root, name))), None)


def check_kept(keep: int) -> None:
    """Refuse to keep more runs of a name than there are records of.

    Raises:
        TooMany: above `MOST_RUNS`.
    """
    if keep > MOST_RUNS:
        raise TooMany(f"keep: {keep} runs of a name cannot be kept, only the newest {MOST_RUNS} are on record")


def newest(found: Sequence[RunRecord], keep: int) -> list[RunRecord]:
    """Of the records of a name, oldest first, the newest and the newest whole ones, so many of each."""
    last, whole = found[-keep:], [record for record in found if record.whole][-keep:]
    return [record for record in found if record in last or record in whole]


def kept_labels(root: Path, keep: int = KEPT_RUNS) -> set[str]:
    """`stage/key` of all artifacts that the newest records of every name refer to, see `newest`.

    Raises:
        DamagedRecord: what a record refers to is not known.
        TooMany: `keep` is above `MOST_RUNS`.
    """
    check_kept(keep)
    by_name: dict[str, list[RunRecord]] = {}
    for path in _paths(root):
        try:
            record = RunRecord.read(path)
        except FileNotFoundError:
            continue
        except DamagedRecord as error:
            raise DamagedRecord(f"{error}; which artifacts that run needs is not known: delete the file") from error
        by_name.setdefault(record.name, []).append(record)
    kept = (record for group in by_name.values() for record in newest(group, keep))
    return {label for record in kept for label in record.labels.values()}


def write_record(
    root: Path, config: Config, result: RunResult, started: float, *, whole: bool = True, stopped: bool = False
) -> RunRecord:
    """Write the record of a run and drop old ones.

    A run that ended with the same artifacts as the one before takes its place, so that repeating a cached run does not
    push others out.

    Args:
        root: the store's folder.
        config: the settings.
        result: how the run ended.
        started: seconds since the epoch.
        whole: whether it was to bring all stages of its settings up to date.
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
        "whole": whole and not stopped and not result.failures,
        "started": _time(started),
        "finished": _time(time.time()),
    }
    with hold(root / ".locks" / "records.lock"):
        paths, before = _paths(root), latest(root, config.name)
        number = max((_number(path) for path in paths), default=0) + 1
        content["clock"] = clock_jump(paths, time.time())
        record = RunRecord(root / RUNS / config.name / _file_name(number, time.time()), _sealed(content))
        write_json(record.path, record.content)
        if before is not None and before.labels == record.labels and record.whole >= before.whole:
            _remove(before)
        found = records(root, config.name)
        stay = {kept.path for kept in newest(found, MOST_RUNS)}
        for old in found:
            if old.path not in stay:
                _remove(old)
    return record


def _remove(record: RunRecord) -> None:
    record.path.unlink(missing_ok=True)
    record.path.with_suffix(".log").unlink(missing_ok=True)


def clock_jump(paths: list[Path], now: float) -> str:
    """What to say where the clock stands before the end of an earlier run; else "".

    Args:
        paths: records.
        now: seconds since the epoch.
    """
    times = [match[2] for path in paths if (match := _NAME.fullmatch(path.name))]
    last = max((calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%S")) for stamp in times), default=0.0)
    if last - now < JUMP_SECONDS:
        return ""
    return (
        f"the clock stands at {_time(now)}, but an earlier run ended at {_time(last)}: it has jumped; runs are kept in "
        "the order of their numbers"
    )


def note_in_record(record: RunRecord, **facts: Any) -> None:
    """Add facts to a record, such as what became of the run's labels."""
    write_json(record.path, _sealed({**record.content, **facts}))


def write_failure_log(record: RunRecord, result: RunResult) -> Path | None:
    """Write the full tracebacks of a run's failures beside its record; where, or None if there were none."""
    parts = [f"{name}: {failure.message}\n{failure.trace}\n" for name, failure in result.failures.items()]
    if not parts:
        return None
    path = record.path.with_suffix(".log")
    write_file(path, lambda file: file.write("\n".join(parts).encode()))
    return path


def _built_entry(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": "kept" if outcome.kept else "cached" if outcome.cached else "built",
        "artifact": outcome.artifact.label,
        "recipe": outcome.artifact.manifest["recipe"],
        "seconds": round(outcome.seconds, 3),
    }


def _file_name(number: int, now: float) -> str:
    """A name that sorts by number and that nobody else has."""
    return f"{number:06d}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z.json"


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _paths(root: Path, name: str | None = None) -> list[Path]:
    """Files of records, by their numbers."""
    found = (root / RUNS).glob(f"{'*' if name is None else glob.escape(name)}/*.json")
    return sorted(found, key=lambda path: (_number(path), path.name))


def _sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, "seal": seal_of(content)}


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
