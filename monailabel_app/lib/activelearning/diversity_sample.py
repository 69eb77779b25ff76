"""Next sample: the scan that is least like those that are labelled."""

from __future__ import annotations

import random
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.activelearning.sample import Candidate, SampleStrategy
from lib.scoring.record import read_record


class DiversitySample(SampleStrategy):
    """Offers the scan whose descriptor is farthest from the nearest labelled one (greedy k-center, a core-set).

    Scans that others were given count as labelled. The scoring method `uncertainty` computes the descriptors on its
    way. Scans without one come after those with; if there are none, the choice is random.
    """

    def __init__(self) -> None:
        super().__init__("Scan that is least like the labelled ones (scoring method uncertainty)")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """The farthest; the answer names its "distance", None where it was not scored yet."""
        from strokelabel.selection.k_center import distances_to_labelled

        descriptors = [_descriptor(candidate.info) for candidate in candidates]
        length = max(map(len, descriptors))
        described = [index for index, numbers in enumerate(descriptors) if length and len(numbers) == length]
        if not described:
            return random.choice(candidates), {"distance": None}
        free = {candidate.id for candidate in candidates}
        others = (_descriptor(datastore.get_image_info(i)) for i in datastore.list_images() if i not in free)
        known = [numbers for numbers in others if len(numbers) == length]
        distances = distances_to_labelled([descriptors[index] for index in described], known)
        best = int(distances.argmax())
        return candidates[described[best]], {"distance": round(float(distances[best]), 4)}


def _descriptor(info: dict[str, Any]) -> tuple[float, ...]:
    record = read_record(info)
    return record.descriptor if record else ()
