"""One GPU, several runs: the named slot that trainings share, a concurrency limit of Prefect's server.

A run holds the slot while at least one of its trainings is at work; which of them go side by side is decided by the
run's own budget of cores.  Trainings of another run wait.  The slot is a lease: it comes back by itself when its
holder dies.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from tag2mask.flows.dag.errors import Stopped
from tag2mask.flows.dag.node import Node

LEASE_SECONDS = 60.0
"""A holder that was killed gives the slot back after this long at the latest; a living one renews in time."""
PATIENCE = 5.0
"""Seconds after which a training says that it waits; a busy server may take some to give a free slot."""
logger = logging.getLogger(__name__)


def ensure_slot(name: str) -> None:
    """Make the server's limit unless it is there; a team may have given it more places, or none."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
            except ObjectAlreadyExists:
                pass  # another run was faster


class TrainingSlot:
    """A run's hold on the slot, shared by its trainings."""

    def __init__(self, name: str, stop: threading.Event, flow_run_id: UUID | None) -> None:
        """`stop` ends the waiting; the flow run is shown by the server as who holds the slot."""
        self.name = name
        self.stop = stop
        self.flow_run_id = flow_run_id
        self.lock = threading.Lock()
        self.users = 0
        self.hold: _Hold | None = None

    @contextmanager
    def held(self, node: Node) -> Iterator[None]:
        """Hold the slot while a node is built, if the node is a training.

        Raises:
            Stopped: the run was stopped while waiting.
            ConcurrencySlotAcquisitionError: the limit was deleted meanwhile.
        """
        if not node.trains:
            yield
            return
        with self.lock:
            self.users += 1
            if self.hold is None:
                self.hold = _Hold(self.name, self.flow_run_id)
            hold = self.hold
        try:
            self._wait(hold, node)
            yield
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    self.hold = None
                    hold.release()

    def _wait(self, hold: "_Hold", node: Node) -> None:
        deadline = time.monotonic() + PATIENCE
        while not hold.ready.wait(0.2):
            if self.stop.is_set():
                raise Stopped("the run was stopped")
            if time.monotonic() > deadline:
                logger.info(
                    "%s waits for the slot %r: another run holds it, or the server is busy", node.name, self.name
                )
                deadline = math.inf
        if hold.error is not None:
            raise hold.error


class _Hold:
    """Takes the slot in a thread of its own, so that whoever waits for it can give up."""

    def __init__(self, name: str, flow_run_id: UUID | None) -> None:
        self.ready = threading.Event()
        self.error: Exception | None = None
        self._over = threading.Event()
        holder = None if flow_run_id is None else ConcurrencyLeaseHolder(type="flow_run", id=flow_run_id)
        self._thread = threading.Thread(target=self._keep, args=(name, holder), daemon=True)
        self._thread.start()

    def _keep(self, name: str, holder: ConcurrencyLeaseHolder | None) -> None:
        try:
            self._await_server(name)
            if self._over.is_set():
                return
            ensure_slot(name)
            with concurrency(
                name, lease_duration=LEASE_SECONDS, strict=True, holder=holder, raise_on_lease_renewal_failure=False
            ):
                self.ready.set()
                self._over.wait()
        except Exception as error:  # handed to whoever waits
            self.error = error
        finally:
            self.ready.set()

    def _await_server(self, name: str) -> None:
        """Wait while the server cannot be reached: it may be started again just now, and runs at work go on."""
        while not self._over.is_set():
            with get_client(sync_client=True) as client:
                problem = client.api_healthcheck()
            if problem is None:
                return
            logger.info("the server cannot be reached to ask for the slot %r (%s): asked again", name, problem)
            self._over.wait(PATIENCE)

    def release(self) -> None:
        """Give the slot back and wait until the server knows; one that is still waited for is given back on arrival."""
        self._over.set()
        if self.ready.is_set():
            self._thread.join(10)
