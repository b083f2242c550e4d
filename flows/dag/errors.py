"""How the run of a node can end without an artifact."""

from tag2mask.configs.errors import UserError


class StageFailed(RuntimeError):
    """A stage ended with an error.

    Attributes:
        kind: name of the exception's type, or of the signal that killed the process.
        trace: the traceback in the stage's process, as text; empty where the process was killed.
    """

    def __init__(self, message: str, kind: str, trace: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.trace = trace


class Stopped(RuntimeError):
    """The run was stopped from outside while the stage was at work or waited."""


class NotSelected(UserError, RuntimeError):
    """A node would have to be built but lies outside of what was asked for."""


class MissingInput(UserError, ValueError):
    """A file or folder that the settings name does not exist."""


class UnknownNode(UserError, ValueError):
    """A stage or node that the run does not have; the message lists those it has."""


class RunFailed(UserError, RuntimeError):
    """Stages failed; the message says which, and why."""


class RunStopped(UserError, RuntimeError):
    """The run was interrupted."""
