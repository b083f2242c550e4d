"""Something broken, and what is to be said of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One broken input."""

    name: str
    """What is broken, in words."""
    content: bytes
    """Of the file."""
    reported: str
    """Regular expression that the message matches."""
    file: str = ""
    """Name of the file."""


def refusal(read: Callable[[Path], object], path: Path, kinds: tuple[type[Exception], ...]) -> str:
    """What is said of a file; it must be an error of ours, in one line for each fault, and name the file.

    Args:
        read: reads the file.
        path: the file.
        kinds: the errors that are wanted.
    """
    try:
        read(path)
    except kinds as error:
        message = str(error)
    else:
        raise AssertionError(f"{path.name} was taken")
    assert path.name in message, message
    assert len(message) < len(str(path)) * message.count(str(path)) + 700, message
    return message
