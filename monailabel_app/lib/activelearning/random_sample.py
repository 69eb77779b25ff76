"""Next sample: a random unlabelled image, rather one that was not shown lately."""

from __future__ import annotations

import random
import time
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.activelearning.sample import Candidate, SampleStrategy, last_offered


class RandomSample(SampleStrategy):
    """Weighs each unlabelled image by the seconds since this strategy last offered it.

    MONAI Label's own strategy fails when every image was offered within the same second; here a weight is
    never below one.
    """

    def __init__(self) -> None:
        super().__init__("Random unlabelled image, rather one that was not shown lately")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """By chance; the answer names the "weight"."""
        now = time.time()
        offered = [last_offered(candidate.info, request.get("strategy")) for candidate in candidates]
        weights = [max(1.0, now - seconds) for seconds in offered]
        index = random.choices(range(len(candidates)), weights=weights)[0]
        return candidates[index], {"weight": int(weights[index])}
