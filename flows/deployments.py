"""What `serve` puts on Prefect's server: the whole regeneration on its schedule, and every stage by itself."""

import json
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from prefect import Flow, serve
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.record import KEPT_RUNS, check_kept
from tag2mask.flows.engine.retraining import Retrain
from tag2mask.flows.garbage_collection import collect_garbage
from tag2mask.flows.pages.run_pages import warn_on_failure
from tag2mask.flows.regenerate import regenerate
from tag2mask.flows.serving.lost_runs import mark_lost_runs
from tag2mask.flows.serving.missed_runs import drop_missed_runs
from tag2mask.flows.serving.parameters import SERVED, Served
from tag2mask.flows.serving.slots import ensure_slot
from tag2mask.flows.single_stage import stage_flow
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.digests import json_digest
from tag2mask.tasks.store.store import Store

WATCH_SECONDS = 20.0
"""Time between two looks for runs whose process is gone."""


@dataclass(frozen=True)
class Schedule:
    """When the regeneration runs."""

    cron: str | None
    """`minute hour day month weekday`; None: only when somebody starts it."""
    timezone: str | None = None
    """Of the cron line; None: UTC."""
    retrain: Retrain = "when_changed"
    """What becomes of the models when images were added."""


@dataclass(frozen=True)
class Collection:
    """When garbage is collected."""

    cron: str | None
    """`minute hour day month weekday`; None: only when somebody starts it."""
    timezone: str | None = None
    """Of the cron line; None: UTC."""
    keep: int = KEPT_RUNS
    """Newest runs per name whose artifacts stay."""

    def __post_init__(self) -> None:
        """Refuse, when it is offered, what garbage collection would refuse at night."""
        check_kept(self.keep)


def deployments_of(
    path: Path, runtime: Runtime, schedule: Schedule, changes: Sequence[str] = ()
) -> list[RunnerDeployment]:
    """The deployments of one settings file, the regeneration first.

    Args:
        path: settings file.
        runtime: resources of every run.
        schedule: when it is regenerated.
        changes: `section.key=value`, for every run.

    Raises:
        ConfigError: the settings, the cron line or its time zone are wrong.
    """
    config = load_config(path, changes)
    check_schedule(schedule)
    given = {
        "config_path": str(path.absolute()),
        "root": str(runtime.root.absolute()),
        "device": runtime.device,
        "precision": runtime.precision,
        "cores": runtime.cores,
        "executor": runtime.executor,
        "dask": runtime.dask,
        "devices": runtime.devices,
        "changes": list(changes),
        "retrain": schedule.retrain,
    }
    made = [_deployment(regenerate, config, given, schedule)]
    for stage in dict.fromkeys(node.stage for node in build_dag(config)):
        section = getattr(config, CATALOG[stage].section).model_dump(mode="json")
        made.append(_deployment(stage_flow(stage), config, {"settings": section, **given}, Schedule(None)))
    return made


def collection_of(root: Path, collection: Collection, name: str) -> RunnerDeployment:
    """The deployment that collects garbage.

    Raises:
        ConfigError: the cron line is wrong.
    """
    try:
        planned = None if collection.cron is None else Cron(collection.cron, timezone=collection.timezone)
        deployment: Any = collect_garbage.to_deployment(
            name=name,
            description=(collect_garbage.description or "").partition("\n")[0],
            parameters={"root": str(root.absolute()), "keep": collection.keep},
            schedule=planned,
            tags=["tag2mask"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise ConfigError(f"--gc {collection.cron!r} --timezone {collection.timezone!r}: {error}") from error
    return deployment  # type: ignore[no-any-return]


def check_schedule(schedule: Schedule) -> None:
    """Refuse a cron line or a time zone that nobody understands.

    Raises:
        ConfigError: the message has an example.
    """
    try:
        ZoneInfo(schedule.timezone or "UTC")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--timezone {schedule.timezone!r}: no such time zone; write one such as Europe/Madrid or UTC"
        ) from error
    try:
        Cron(schedule.cron or "0 2 * * *")
    except ValueError as error:
        raise ConfigError(
            f"--cron {schedule.cron!r}: write minute hour day month weekday, such as '0 2 * * *' for every night at two"
        ) from error


def _deployment(
    flow: Flow[..., Any], config: Config, parameters: dict[str, Any], schedule: Schedule
) -> RunnerDeployment:
    try:
        planned = None if schedule.cron is None else Cron(schedule.cron, timezone=schedule.timezone)
        deployment: Any = flow.to_deployment(
            name=config.name if flow is regenerate else f"{config.name}-{flow.name}",
            description=(flow.description or "").partition("\n")[0],
            parameters=parameters,
            schedule=planned,
            tags=["tag2mask", config.name],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise ConfigError(f"--cron {schedule.cron!r} --timezone {schedule.timezone!r}: {error}") from error
    return deployment  # type: ignore[no-any-return]


def all_deployments(
    paths: Sequence[Path],
    runtime: Runtime,
    schedule: Schedule,
    changes: Sequence[str],
    collection: Collection,
    store_name: str | None = None,
) -> list[RunnerDeployment]:
    """The deployments of all settings files, and the one that collects the garbage of their store.

    That bears a name, or one of the first run's: no digest of a path, which is another one on each machine.

    Raises:
        ConfigError: a file is wrong, two have the same name, or a schedule is wrong.
    """
    _refuse_equal_names(paths, changes)
    deployments = [made for path in paths for made in deployments_of(path, runtime, schedule, changes)]
    return [*deployments, collection_of(runtime.root, collection, store_name or f"store-of-{deployments[0].name}")]


def _refuse_equal_names(paths: Sequence[Path], changes: Sequence[str]) -> None:
    """Refuse settings files of one name, whose deployments would overwrite each other."""
    names = [load_config(path, changes).name for path in paths]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        files = [str(path) for path, name in zip(paths, names, strict=True) if name == twice[0]]
        raise ConfigError(f"{' and '.join(files)} have the same name {twice[0]!r}: give each its own `name`")


def serve_all(
    paths: Sequence[Path],
    runtime: Runtime,
    schedule: Schedule,
    limit: int,
    collection: Collection = Collection(None),
) -> None:
    """Put the deployments of all settings files on the server and carry out their runs until interrupted.

    Args:
        paths: settings files.
        runtime: resources of every run.
        schedule: when each is regenerated.
        limit: runs at a time; of their trainings only one works at a time.
        collection: when garbage is collected.

    Raises:
        ConfigError: a file is wrong, or two have the same name.
    """
    store_name = f"store-{json_digest(str(runtime.root.absolute()))[:6]}"  # a server may have several stores
    deployments = all_deployments(paths, runtime, schedule, (), collection, store_name)
    os.environ[SERVED] = served_by(paths, runtime, ()).as_json()  # of this process's runs
    store = Store(runtime.root).create()
    if runtime.slot:
        ensure_slot(runtime.slot)
    for made in deployments:
        if made.flow_name in (regenerate.name, collect_garbage.name):
            drop_missed_runs(f"{made.flow_name}/{made.name}")
    _watch(store)
    warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited")  # Prefect's own way to end
    serve(*deployments, limit=limit, pause_on_shutdown=False, print_starting_message=False)


def served_by(paths: Sequence[Path], runtime: Runtime, changes: Sequence[str]) -> Served:
    """What the parameters of the deployments of some settings files may name."""
    return Served(runtime.root.absolute(), {path.absolute(): changes for path in paths}, runtime.dask)


def pool_file(
    paths: Sequence[Path],
    runtime: Runtime,
    schedule: Schedule,
    changes: Sequence[str],
    pool: str,
    collection: Collection = Collection(None),
) -> str:
    """A `prefect.yaml` with the same deployments, for a work pool; paths below the current folder are relative to it.

    The machine's number of cores is left to the machine that carries out the runs.

    Raises:
        ConfigError: a file is wrong, or two have the same name.
    """
    deployments = all_deployments(paths, runtime, schedule, changes, collection)
    served = json.dumps(_relative(json.loads(served_by(paths, runtime, changes).as_json())))
    content = {
        "name": "tag2mask",
        "prefect-version": version("prefect"),
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}],
        "deployments": [_pool_entry(made, pool, served) for made in deployments],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def _pool_entry(deployment: RunnerDeployment, pool: str, served: str) -> dict[str, Any]:
    plans = [plan.schedule for plan in deployment.schedules or []]
    planned = [
        {"cron": plan.cron, "timezone": plan.timezone or "UTC"} for plan in plans if isinstance(plan, CronSchedule)
    ]
    return {
        "name": deployment.name,
        "entrypoint": deployment.entrypoint,
        "description": deployment.description,
        "tags": list(deployment.tags),
        "work_pool": {"name": pool, "job_variables": {"env": {SERVED: served}}},
        "parameters": {k: _relative(v) for k, v in deployment.parameters.items() if k != "cores"},
        **({"schedules": planned} if planned else {}),
    }


def _relative(value: Any) -> Any:
    """Paths below the current folder relative to it."""
    if isinstance(value, dict):
        return {_relative(key): _relative(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_relative(part) for part in value]
    return value.removeprefix(f"{Path.cwd()}/") if isinstance(value, str) else value


def _watch(store: Store) -> None:
    """Look for runs whose process is gone, now and for as long as this process lives."""

    def look() -> None:
        while True:
            with warn_on_failure("the end of a run that was killed"):
                mark_lost_runs(store)
            over.wait(WATCH_SECONDS)

    over = threading.Event()
    threading.Thread(target=look, daemon=True).start()
