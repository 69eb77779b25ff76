"""Next sample: the scan that the model is least sure about."""

from __future__ import annotations

import random
from statistics import median
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.activelearning.sample import Candidate, SampleStrategy
from lib.scoring.record import read_record


class UncertaintySample(SampleStrategy):
    """Offers the scan with the highest score of the scoring method `uncertainty`.

    A score by earlier weights serves until the scan is scored anew. A scan without any counts as the median of the
    others: it goes before those that are known to be rather certain, and after those known to be uncertain. Of equals
    the one without a score goes first, else chance decides; so it does as long as there are no scores.
    """

    def __init__(self) -> None:
        super().__init__("Scan that the model is least sure about (scoring method uncertainty)")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """The most uncertain; the answer names its "score", None where it was not scored yet."""
        records = [read_record(candidate.info) for candidate in candidates]
        scores = [record.score if record else None for record in records]
        known = [score for score in scores if score is not None]
        usual = median(known) if known else 0.0
        order = [(usual, True) if score is None else (score, False) for score in scores]
        best = random.choice([index for index, score in enumerate(order) if score == max(order)])
        return candidates[best], {"score": scores[best]}
