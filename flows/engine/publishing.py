"""The last step of a run: its labels to the gate.

It is no stage: what becomes of a label set depends on the release before, which is no input of the run, so its result
is kept below `releases` and never found by a key.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.configs.errors import UserError
from tag2mask.configs.runtime import available_cores
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.dag.planning import plan
from tag2mask.flows.dag.record import latest, note_in_record
from tag2mask.tasks.release.gate import check_reason
from tag2mask.tasks.store.store import Artifact, Store

if TYPE_CHECKING:
    from tag2mask.tasks.release.gate import Judgement
    from tag2mask.tasks.release.publish import Publication


class NothingToPublish(UserError, ValueError):
    """The run has not made all that a release needs; the message says what is missing."""


def publish_run(config: Config, root: Path, result: RunResult) -> "Publication | None":
    """Bring the labels of a run that has ended to the gate, if the settings say so and the run has made them.

    Returns:
        What became of them; None where there was nothing to do.
    """
    if not publishes(config, result):
        return None
    artifacts = {name: outcome.artifact for name, outcome in result.outcomes.items()}
    return publish_artifacts(config, Store(root), artifacts)


def publishes(config: Config, result: RunResult) -> bool:
    """Whether a run that ended so brings its labels to the gate: all went well, they were made, and it is asked for."""
    return config.release.publish and not result.failures and set(_needed(config)) <= result.outcomes.keys()


def weigh_measured(config: Config, store: Store, result: RunResult) -> "Judgement | None":
    """What the gate would say of the labels that a run has measured; None where it measured none.

    Raises:
        DamagedArtifact: the release before is not what its manifest says.
    """
    from tag2mask.tasks.release.publish import weigh

    signals = result.outcomes.get(_needed(config)[1])
    if signals is None or signals.cached:
        return None
    evaluated = result.outcomes.get(_evaluation(config))
    evaluation = None if evaluated is None else evaluated.artifact
    return weigh(store, config.name, signals.artifact, config.release, evaluation=evaluation)


def publish_finished(config: Config, root: Path, *, forced: str | None = None) -> "Publication":
    """Bring the labels of a finished run to the gate.

    Raises:
        NoReason: `forced` is blank.
        NoStore: the folder of the store is not there.
        NothingToPublish: an artifact that these settings ask for is not there.
    """
    check_reason(forced)
    store = Store.existing(root)
    return publish_artifacts(config, store, finished(config, store, _needed(config)), forced=forced)


def finished(config: Config, store: Store, needed: Sequence[str]) -> dict[str, Artifact]:
    """All artifacts of a run that are up to date, by node.

    Raises:
        NothingToPublish: one that is needed is not among them; the message names it.
    """
    rows = plan(build_dag(config), store, latest(store.root, config.name))
    artifacts = {row.node.name: row.artifact for row in rows if row.artifact is not None}
    missing = [name for name in needed if name not in artifacts]
    if missing:
        raise NothingToPublish(
            f"{', '.join(missing)} of {config.name} {'is' if len(missing) == 1 else 'are'} not up to date: "
            "`tag2mask run` it first; `tag2mask plan` says why"
        )
    return artifacts


def publish_artifacts(
    config: Config, store: Store, artifacts: Mapping[str, Artifact], *, forced: str | None = None
) -> "Publication":
    """Bring the labels of a run to the gate, and note in its record what became of them.

    Args:
        config: the settings.
        store: the store.
        artifacts: node -> its artifact; the report and the evaluation may be missing.
        forced: why to release them whatever the gate says.

    Raises:
        DamagedArtifact, NoRoomOnDisk, StoreNotWritable: nothing was published.
    """
    from tag2mask.tasks.release.contents import Draft
    from tag2mask.tasks.release.publish import publish

    labels, signals, dataset = (artifacts[name] for name in _needed(config))
    publication = publish(
        store,
        config.name,
        Draft(labels, dataset, signals, artifacts.get("render_report")),
        config.release,
        evaluation=artifacts.get(_evaluation(config)),
        about={"config": config.model_dump(mode="json"), "artifacts": _provenance(artifacts)},
        forced=forced,
        threads=available_cores(),
    )
    record = latest(store.root, config.name)
    if record is not None and record.labels.get(_needed(config)[0]) == labels.label:
        gate: Mapping[str, Any] = publication.release.manifest["gate"]
        kept = {"state": publication.state, "title": publication.release.title, "failures": gate["failures"]}
        note_in_record(record, release={**kept, "told": "; ".join(publication.lines())})
    return publication


def _needed(config: Config) -> tuple[str, str, str]:
    """Nodes without which there is nothing to publish: labels, signals, dataset."""
    return f"{config.next_labels}-{config.rounds}", f"measure_labels-{config.rounds}", "index_dataset"


def _evaluation(config: Config) -> str:
    """Node that measures the published labels, where there are masks."""
    return f"evaluate-labels_{config.rounds}"


def _provenance(artifacts: Mapping[str, Artifact]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "artifact": artifact.label,
            "digest": artifact.digest,
            "recipe": artifact.manifest["recipe"],
            "versions": artifact.manifest["versions"],
        }
        for name, artifact in artifacts.items()
    }
