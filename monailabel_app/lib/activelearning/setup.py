"""Which strategies there are."""

from __future__ import annotations

from monailabel.interfaces.tasks.strategy import Strategy

from lib.activelearning.diversity_sample import DiversitySample
from lib.activelearning.first_sample import FirstSample
from lib.activelearning.random_sample import RandomSample
from lib.activelearning.uncertainty_sample import UncertaintySample


def make_strategies() -> dict[str, Strategy]:
    """By the names that viewers know; browsers start with "random"."""
    return {
        "random": RandomSample(),
        "first": FirstSample(),
        "uncertainty": UncertaintySample(),
        "diversity": DiversitySample(),
    }
