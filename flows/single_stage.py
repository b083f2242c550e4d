"""One flow per stage, whose form in the UI is the stage's own section of the settings.

`tag2mask.flows.single_stage.mine_objects` is the flow of the stage `mine_objects`, and so for every stage.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import Flow, State, flow
from prefect.runtime import flow_run
from prefect.states import Failed

from tag2mask.configs.load import ConfigError
from tag2mask.configs.runtime import BadResource, Device, Executor, Precision, runtime_of
from tag2mask.configs.schema import Config
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.planning import settings_changes
from tag2mask.flows.engine.retraining import Retrain
from tag2mask.flows.engine.running import Selection
from tag2mask.flows.regenerate import TASK_RUNNER, bring_up_to_date, dataset_name, permitted
from tag2mask.flows.serving.parameters import check_paths, load_permitted, permitted_dask
from tag2mask.tasks.catalog import CATALOG

_flows: dict[str, Flow[..., Any]] = {}


def __getattr__(name: str) -> Flow[..., Any]:
    """The flow of a stage."""
    if name not in CATALOG:
        raise AttributeError(f"{name!r} is no stage; those are: {', '.join(CATALOG)}")
    return stage_flow(name)


def stage_flow(stage: str) -> Flow[..., Any]:
    """The flow that builds one stage with settings from a form."""
    if stage not in _flows:
        _flows[stage] = _stage_flow(stage)
    return _flows[stage]


def section_type(stage: str) -> type[Section]:
    """The type of the section that a stage reads."""
    annotation: Any = Config.model_fields[CATALOG[stage].section].annotation
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section))


def _stage_flow(stage: str) -> Flow[..., Any]:
    def build(
        settings: Section,
        config_path: Path,
        downstream: bool = True,
        upstream: bool = False,
        force: bool = False,
        retrain: Retrain = "when_changed",
        changes: list[str] | None = None,
        root: Path = Path("artifacts"),
        device: Device = "auto",
        precision: Precision = "auto",
        cores: int | None = None,
        executor: Executor = "here",
        dask: str = "",
        devices: int = 1,
    ) -> State:
        try:
            served = permitted()
            config = _changed(load_permitted(config_path, changes or [], root, served), stage, settings)
            check_paths(config, config_path, served)
            runtime = runtime_of(root, device, precision, cores, executor, permitted_dask(dask, served), devices)
        except (ConfigError, BadResource) as error:
            return Failed(message=str(error))
        selection = _selection(config, stage, downstream=downstream, upstream=upstream, force=force)
        selection = replace(selection, retrain=retrain, keeps_within=False)
        return bring_up_to_date(config, runtime, selection)

    build.__name__ = build.__qualname__ = stage
    build.__annotations__["settings"] = section_type(stage)
    build.__doc__ = f"""Build {stage} with these settings; what does not depend on them stays cached.

    Args:
        settings: the section `{CATALOG[stage].section}` of the settings.
        config_path: settings file that everything else is taken from, on the machine that runs the flow.
        downstream: also build what depends on the stage.
        upstream: also build what the stage needs, where it is not up to date; otherwise the run fails and says what.
        force: build the stage although it is there.
        retrain: let models of the last run stand in for those that the stage needs (`never`), take them only where
            nothing changed, or train anew in any case.
        changes: further settings, `section.key=value`.
        root: folder of the artifact store.
        device: where networks run.
        precision: of the forward pass in training; `auto` takes bfloat16 where the device has instructions for it.
        cores: cores to use in all; without it those available.
        executor: who works on images.
        dask: of the executor `dask`: `local`, `local:4`, or the cluster's address that `serve` was started with.
        devices: processes that share a training's batches, a GPU each.
    """
    named: Any = _RunName(stage)
    return flow(name=stage, flow_run_name=named, task_runner=TASK_RUNNER, persist_result=False)(build)


def _changed(config: Config, stage: str, settings: Section) -> Config:
    """The file's settings with what was filled in of one section; what was left out stays as the file says."""
    before = getattr(config, CATALOG[stage].section)
    values = _merged({} if before is None else before.model_dump(), settings.model_dump(exclude_unset=True))
    try:
        return config.replaced(**{CATALOG[stage].section: values})
    except ValueError as error:
        raise ConfigError(f"{CATALOG[stage].section}: {error}") from error


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Nested values of which those in `new` are replaced."""
    both = {key: _merged(old[key], new[key]) for key in old.keys() & new.keys() if _are_groups(old[key], new[key])}
    return {**old, **new, **both}


def _are_groups(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _selection(config: Config, stage: str, *, downstream: bool, upstream: bool, force: bool) -> Selection:
    """What may be built; a stage that the new settings do without leaves the whole run."""
    there = any(node.stage == stage for node in build_dag(config))
    since = stage if there and not upstream else None
    until = stage if there and not downstream else None
    return Selection(None, since, until, (stage,) if force and there else ())


class _RunName:
    """Names runs of a stage: dataset, stage, and what differs from the settings file."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def __call__(self) -> str:
        """E.g. `voc-mini mine_objects foreground: 0.3 → 0.4`."""
        parameters = flow_run.parameters
        path, changes = Path(parameters["config_path"]), parameters.get("changes") or []
        name = f"{dataset_name(parameters)} {self.stage}"
        try:
            config = load_permitted(path, changes, Path(parameters["root"]), permitted())
            before = getattr(config, CATALOG[self.stage].section)
        except ConfigError:
            return name
        old = {} if before is None else before.model_dump(mode="json")
        settings = parameters["settings"]
        given = settings.model_dump(mode="json", exclude_unset=True) if isinstance(settings, Section) else settings
        new = _merged(old, given)
        changed = [change.removeprefix(".") for change in settings_changes("", old, new)]
        return ", ".join([f"{name} {changed[0]}", *changed[1:3]]) if changed else name
