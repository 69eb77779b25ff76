"""List of the scoring methods."""

from __future__ import annotations

from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.model import ServedModel
from lib.scoring.dice import DiceScoring
from lib.scoring.uncertainty import UncertaintyScoring


def make_scoring_methods(model: ServedModel) -> dict[str, ScoringMethod]:
    """Return the methods, by name.

    Args:
        model: whose active weights score.
    """
    return {"uncertainty": UncertaintyScoring(model), "dice": DiceScoring()}
