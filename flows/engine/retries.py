"""Which failures another attempt can mend: the disk's and the network's hiccups, and a lost process."""

from tag2mask.flows.dag.errors import StageFailed

DELAYS = (5, 30)
"""Seconds before the second and the third attempt."""
TRANSIENT = frozenset(
    {
        *("OSError", "BlockingIOError", "InterruptedError", "TimeoutError"),
        *("ConnectionError", "ConnectionResetError", "ConnectionAbortedError", "BrokenPipeError"),
        *("BrokenProcessPool", "NoResult", "SIGTERM", "SIGHUP", "SIGBUS"),
    }
)
"""Kinds of failures that may pass.  Not among them: wrong settings, missing files, a full disk, memory (SIGKILL)."""


def worth_retrying(error: BaseException) -> bool:
    """Whether the same work may succeed a little later."""
    if isinstance(error, StageFailed):
        return error.kind in TRANSIENT
    return type(error).__name__ in TRANSIENT
