"""Next sample: a random unlabelled image, rather one that was not shown lately."""

from __future__ import annotations

import random
import time
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy


class RandomSample(Strategy):
    """Weighs each unlabelled image by the seconds since this strategy last offered it.

    MONAI Label's own strategy fails when every image was offered within the same second; here a weight is
    never below one.
    """

    def __init__(self) -> None:
        super().__init__("Random unlabelled image, rather one that was not shown lately")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image.

        Args:
            request: "strategy" (the name this strategy is registered by), "label_tag", "labels".
            datastore: where the images are.

        Returns:
            "id" and "weight" of the image; None when every image has a final label.
        """
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        now = time.time()
        offered = [last_offered(datastore.get_image_info(image), request.get("strategy")) for image in images]
        weights = [max(1.0, now - seconds) for seconds in offered]
        index = random.choices(range(len(images)), weights=weights)[0]
        return {"id": images[index], "weight": int(weights[index])}


def last_offered(info: dict[str, Any], strategy: str | None) -> float:
    """Seconds since the epoch at which a strategy last offered an image; 0 if it never did.

    Clients may write anything into an image's info, so nothing is taken for granted.
    """
    entry = info.get("strategy")
    for key in (strategy, "ts"):
        entry = entry.get(key) if isinstance(entry, dict) else None
    return float(entry) if isinstance(entry, (int, float)) else 0.0
