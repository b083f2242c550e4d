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
from tag2mask.flows.dag.delivery import REPORT, Delivery, delivery
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.dag.planning import plan
from tag2mask.flows.dag.record import latest, note_in_record
from tag2mask.flows.engine.retraining import models_kept_in
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
    made = delivery(build_dag(config))
    if made is None or not config.release.publish:
        return False
    return not result.failures and set(made.needed) <= result.outcomes.keys()


def weigh_measured(config: Config, store: Store, result: RunResult) -> "Judgement | None":
    """What the gate would say of the labels that a run has measured; None where it measured none.

    Raises:
        DamagedArtifact: the release before is not what its manifest says.
    """
    from tag2mask.tasks.release.publish import weigh

    made = delivery(build_dag(config))
    signals = None if made is None else result.outcomes.get(made.signals)
    if made is None or signals is None or signals.cached:
        return None
    evaluated = result.outcomes.get(made.evaluation or "")
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
    return publish_artifacts(config, store, finished(config, store, delivered(config).needed), forced=forced)


def finished(config: Config, store: Store, needed: Sequence[str]) -> dict[str, Artifact]:
    """All artifacts of a run that are up to date, by node; a model that the newest run has kept stands in as it did.

    Raises:
        NothingToPublish: one that is needed is not among them; the message names it.
    """
    record = latest(store.root, config.name)
    nodes = build_dag(config)
    kept = {} if record is None else models_kept_in(record, nodes, store)
    rows = plan(nodes, store, record, kept=kept)
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

    made = delivered(config)
    labels, signals, dataset = (artifacts[name] for name in made.needed)
    publication = publish(
        store,
        config.name,
        Draft(labels, dataset, signals, artifacts.get(REPORT)),
        config.release,
        evaluation=artifacts.get(made.evaluation or ""),
        about={"config": config.model_dump(mode="json"), "artifacts": _provenance(artifacts)},
        forced=forced,
        threads=available_cores(),
    )
    record = latest(store.root, config.name)
    if record is not None and record.labels.get(made.labels) == labels.label:
        gate: Mapping[str, Any] = publication.release.manifest["gate"]
        kept = {"state": publication.state, "title": publication.release.title, "failures": gate["failures"]}
        note_in_record(record, release={**kept, "summary": "; ".join(publication.lines())})
    return publication


def delivered(config: Config) -> Delivery:
    """What a run of these settings delivers.

    Raises:
        NothingToPublish: it makes no labels.
    """
    found = delivery(build_dag(config))
    if found is None:
        raise NothingToPublish(f"{config.name} makes no labels: set dataset.tags")
    return found


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
