"""Paths that begin with `~`."""

from pathlib import Path

from tag2mask.configs.errors import UserError


class NoHomeFolder(UserError, ValueError):
    """A path begins with the home folder of a user who has none here; the message says which."""


def expanded(path: str | Path) -> Path:
    """A path with `~` or `~name` at its beginning replaced by that home folder; any other path as it is.

    Raises:
        NoHomeFolder: the user has none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise NoHomeFolder(f"{path}: {Path(path).parts[0]} has no home folder here; write the path") from error
