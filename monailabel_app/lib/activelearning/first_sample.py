"""Next sample: the first unlabelled image in the order of ids."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.activelearning.sample import Candidate, SampleStrategy


class FirstSample(SampleStrategy):
    """Offers images in the order of their ids."""

    def __init__(self) -> None:
        super().__init__("First unlabelled image in the order of names")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """The first by id."""
        return min(candidates, key=lambda candidate: candidate.id), {}
