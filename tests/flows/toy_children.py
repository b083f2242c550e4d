"""Imported by the server that stages are forked from: makes the toy stages importable in them."""

import torch  # noqa: F401  here once, not in every child

from tests.flows import toys

toys.install()
