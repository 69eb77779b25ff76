"""Benchmarks, imported as a person starts them: with their folder on the path."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "training" / "benchmarks"


@contextmanager
def imported(name: str) -> Iterator[ModuleType]:
    """The module of a script, such as "parcellation"."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))
