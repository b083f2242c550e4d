"""The Dask cluster of a run: started, or looked for, when the first stage needs it."""

import logging
import threading
import warnings
from contextlib import suppress
from typing import Any

from tag2mask.configs.runtime import Runtime
from tag2mask.tasks.executors.images import NoDask
from tag2mask.tasks.executors.processes import SUMMING, WAITING
from tag2mask.tasks.store.runtime import Cluster

log = logging.getLogger("tag2mask")
LOOPBACK = "127.0.0.1"
DASHBOARD = f"{LOOPBACK}:8787"
"""Where a local cluster shows itself; where that is taken, at another port."""
CREDENTIALS = ("tls_ca_file", "tls_client_key", "tls_client_cert")


class RunCluster:
    """The cluster that the stages of a run share."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._found: Cluster | None = None
        self._own: Any = None

    def get(self) -> Cluster:
        """Where the cluster is.

        Raises:
            NoDask: the package's extra for it is not installed.
            LostCluster: nobody answers there.
        """
        with self._lock:
            if self._found is None:
                try:
                    from tag2mask.tasks.executors import dask_workers
                except ImportError as error:
                    raise NoDask.because(error) from error
                if self._runtime.local_workers is not None:
                    self._own = _start(self._runtime.local_workers)
                    keys = {name: getattr(self._own.security, name) for name in CREDENTIALS}
                    self._found = Cluster(self._own.scheduler_address, keys)
                else:
                    self._found = Cluster(self._runtime.dask)
                with dask_workers.connect(self._found) as client:
                    count = len(dask_workers.workers_of(client, self._found.address))
                    log.info("dask: %d workers at %s, dashboard %s", count, self._found.address, client.dashboard_link)
            return self._found

    def close(self) -> None:
        """End the workers that were started."""
        with self._lock:
            own, self._own, self._found = self._own, None, None
        if own is not None:
            with suppress(TimeoutError):
                own.close(timeout=10)


def _start(workers: int) -> Any:
    """A cluster on this machine, reached by nobody without its keys: Dask's messages can carry any code."""
    import dask.config
    from distributed import LocalCluster, Security

    variables = {"OMP_NUM_THREADS": "1", **SUMMING, **WAITING}  # memory: each worker sees to it, see `keep_memory`
    with warnings.catch_warnings(), dask.config.set({"distributed.nanny.pre-spawn-environ": variables}):
        warnings.filterwarnings("ignore", "Port .* is already in use")
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host=LOOPBACK,
            protocol="tls://",
            security=Security.temporary(),
            dashboard_address=DASHBOARD,
            memory_limit=0,  # the machine's own limit is what stages have without Dask
            silence_logs=logging.ERROR,
        )
