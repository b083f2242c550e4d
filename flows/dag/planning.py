"""What a run would do, node by node, and why; without running or changing anything."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tag2mask.flows.dag.errors import MissingInput
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.record import RunRecord
from tag2mask.flows.dag.resolve import resolve, setting_of
from tag2mask.tasks.catalog import CATALOG, section_of
from tag2mask.tasks.store.store import Artifact, DamagedArtifact, Store

Kept = Mapping[str, Artifact]
NOTHING: Kept = {}
State = Literal["cached", "run", "waits", "damaged", "missing", "forced", "kept"]


@dataclass(frozen=True)
class PlanRow:
    """What would happen to one node."""

    node: Node
    state: State
    """`waits`: whether it must run shows only when what it reads has been made."""
    reason: str
    artifact: Artifact | None = None
    """Where it is cached or kept."""


def plan(
    nodes: Sequence[Node], store: Store, record: RunRecord | None, *, force: Collection[str] = (), kept: Kept = NOTHING
) -> list[PlanRow]:
    """One row per node, in the DAG's order.

    Args:
        nodes: the DAG.
        store: the store; nothing in it is changed.
        record: the run to compare with when saying why a node must run.
        force: nodes that would be built although they are there.
        kept: node -> an older model that stands in for the one that would be trained.
    """
    known: dict[str, Artifact] = {}
    rows = []
    for node in nodes:
        row = _row(node, known, store, record, node.name in force)
        if node.name in kept and node.name not in force and row.state != "cached":
            reason = f"{kept[node.name].label} stands in (retrain: never): {row.reason}"
            row = PlanRow(node, "kept", reason, kept[node.name])
        if row.artifact is not None:
            known[node.name] = row.artifact
        rows.append(row)
    return rows


def _row(node: Node, known: Mapping[str, Artifact], store: Store, record: RunRecord | None, forced: bool) -> PlanRow:
    before = record.nodes.get(node.name, {}).get("recipe") if record else None
    unknown = [name for name in dict.fromkeys(node.upstream) if name not in known]
    if unknown and forced:
        return PlanRow(node, "forced", "asked for by --force")
    if unknown:
        changes = changes_since(node, before, {})
        read = [name for name in unknown if name in node.inputs.values()]
        checks = [name for name in unknown if name not in read]
        waits = [f"waits for {_listed(read)}"] if read else []
        waits += [f"begins after {_listed(checks)}"] if checks else []
        return PlanRow(node, "waits", "; ".join([*changes, *waits]))
    try:
        resolved = resolve(node, known, store)
    except MissingInput as error:
        return PlanRow(node, "missing", str(error))
    label = resolved.label
    try:
        artifact = store.find(resolved.recipe.stage, resolved.recipe.key)
    except DamagedArtifact as error:
        return PlanRow(node, "damaged", f"damaged: {str(error).removeprefix(f'{label}: ')}")
    if forced:
        return PlanRow(node, "forced", "asked for by --force")
    if artifact is not None:
        return PlanRow(node, "cached", label, artifact)
    if before is None:
        built = any((store.root / node.stage).glob("*")) and record is not None
        return PlanRow(node, "run", "the last run did not come to it" if built else "never built")
    changes = changes_since(node, before, resolved.recipe.inputs)
    return PlanRow(node, "run", "; ".join(changes) or f"{label} was removed from the store")


def changes_since(node: Node, before: Mapping[str, Any] | None, inputs: Mapping[str, str]) -> list[str]:
    """What differs between a node and the recipe of its last artifact, one phrase each.

    Args:
        node: the node.
        before: its recipe in the record; None where it has none.
        inputs: digests of its inputs now; those that are not known yet are left out.
    """
    if before is None:
        return []
    changes = []
    version = CATALOG[node.stage].version
    if before["version"] != version:
        changes.append(f"version {before['version']} → {version}")
    changes += settings_changes(section_of(node.stage), before["config"], node.hashed)
    for name in sorted(inputs.keys() | (before["inputs"].keys() if inputs else set())):
        old, new = before["inputs"].get(name), inputs.get(name)
        if old != new:
            what = "is new" if old is None else "is gone" if new is None else "has other content"
            changes.append(f"{_input_name(node, name)} {what}")
    return changes


def settings_changes(prefix: str, old: Any, new: Any) -> list[str]:
    """`section.key: old → new` for every value that differs between two sections."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in [*old, *(key for key in new if key not in old)]:
            found += settings_changes(f"{prefix}.{key}", old.get(key, "absent"), new.get(key, "absent"))
        return found
    return [] if _plain(old) == _plain(new) else [f"{prefix}: {_plain(old)} → {_plain(new)}"]


def _plain(value: Any) -> Any:
    """A value as JSON brings it back: tuples as lists."""
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _input_name(node: Node, name: str) -> str:
    source = node.inputs.get(name)
    return f"{name} ({source})" if isinstance(source, str) else setting_of(node, name)


def _listed(names: list[str], shown: int = 3) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
