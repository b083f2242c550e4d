"""The Prefect flow that collects garbage on a schedule (`serve --gc`)."""

import time
from pathlib import Path
from uuid import UUID

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from tag2mask.configs.errors import UserError
from tag2mask.configs.load import ConfigError
from tag2mask.flows.dag.record import KEPT_RUNS
from tag2mask.flows.engine.garbage import collect
from tag2mask.flows.regenerate import permitted
from tag2mask.flows.serving.lost_runs import mark_alive
from tag2mask.flows.serving.missed_runs import cancelled_if_superseded
from tag2mask.tasks.building.maintenance import StoreInUse
from tag2mask.tasks.store.store import Store

TRIES, PAUSE_SECONDS = 12, 300.0
"""How often, and how far apart, it is tried while runs are at work in the store."""


@flow(name="collect_garbage", persist_result=False)
def collect_garbage(root: Path = Path("artifacts"), keep: int = KEPT_RUNS) -> State:
    """Delete what none of the newest runs of each name needs.

    Args:
        root: folder of the artifact store.
        keep: newest runs per name whose artifacts stay.

    Returns:
        Completed with what went, Failed with the reason why nothing did, or Cancelled where a later run is due as well.
    """
    try:
        served = permitted()
    except ConfigError as error:
        return Failed(message=str(error))
    if served is not None and root.resolve() != served.root:
        return Failed(message=f"root: {root} is not the store that is served: {served.root}")
    if keep < 1:
        return Failed(message=f"keep: {keep} must be 1 or more")
    if flow_run.id is not None and root.is_dir():  # as a flow run, and not called by itself
        if (superseded := cancelled_if_superseded(UUID(flow_run.id))) is not None:
            return superseded
        mark_alive(Store.existing(root), UUID(flow_run.id))
    for left in reversed(range(TRIES)):
        try:
            removed = collect(Store.existing(root), keep)
            size = sum(size for _, size in removed) / 2**20
            return Completed(message=f"deleted {len(removed)} items, {size:.1f} MB in all")
        except StoreInUse as error:
            if not left:
                return Failed(message=str(error))
            time.sleep(PAUSE_SECONDS)
        except UserError as error:
            return Failed(message=str(error))
    raise AssertionError("the last try returns")
