"""Strategies that choose the next sample: the first, a random one, the most different, or the least sure one."""

from __future__ import annotations

import math
import random
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

from monailabel.endpoints.user.auth import DEFAULT_USER
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.strategy import Strategy

from lib.refusals import InvalidRequestError, UnknownNameError
from lib.request_values import as_number
from lib.scoring.uncertainty import image_stamp, read_record
from lib.studies.scan_list import image_infos

RESERVED_MINUTES = 30.0
"""Time for which an image offered to one client is not offered to others."""

_ANONYMOUS = DEFAULT_USER.username
"""Whom MONAI Label notes where there are no users and the client does not name itself."""

SKIPPED = "skipped"
"""Key in the info of an image: true, or {"ts", "client_id"}."""

_one_at_a_time = threading.Lock()  # so that two requests at once are not given the same image


class Candidate(NamedTuple):
    """An image that may be offered.

    Attributes:
        id: of the image.
        info: what is known about it.
    """

    id: str
    info: Mapping[str, Any]


class SampleStrategy(Strategy):
    """Strategy that suggests images without a final label, or with a rejected one.

    Images that another client was given within the last `RESERVED_MINUTES` are left out (option `reserve_minutes`, 0 to
    offer them nevertheless); skipped images come last, the one that was skipped longest ago first; those
    that scoring could not read come after all others that were not skipped.

    A request may name an image to `skip`: it is noted before another one is chosen.
    """

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image and reserve it for the client.

        Args:
            request: "strategy" (the name this strategy is registered by), "client_id", "skip", "reserve_minutes".
            datastore: where the images are.

        Returns:
            "id" of the image and what the strategy says about it; None when nothing is left for this client.

        Raises:
            InvalidRequestError, UnknownNameError: an impossible option, no such image to skip.
        """
        now, client = time.time(), _client(request)
        minutes = as_number(request.get("reserve_minutes"), "reserve_minutes", RESERVED_MINUTES)
        with _one_at_a_time:
            if request.get("skip"):
                _skip(request["skip"], client, datastore, now)
            free = [
                candidate
                for candidate in _unlabelled(datastore)
                if not reserved_by_other(candidate.info, client, now - 60 * minutes)
            ]
            if not free:
                return None
            chosen, said = self.choose(_first_in_line(free, datastore), request, datastore)
            entry = {"ts": int(now), "client_id": request.get("client_id")}
            offered = {**_strategies(chosen.info), str(request.get("strategy")): entry}
            datastore.update_image_info(chosen.id, {"strategy": offered})
        return {"id": chosen.id, **said}

    @abstractmethod
    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """Choose one of the candidates (at least one), and what to say about it in the answer."""


def last_offered(info: Mapping[str, Any], strategy: str | None) -> float:
    """Return the seconds since the epoch at which a strategy last offered an image; 0 if it never did.

    Clients may write anything into an image's info, so nothing is taken for granted.
    """
    entry = _strategies(info).get(str(strategy))
    return _seconds(entry.get("ts")) if isinstance(entry, dict) else 0.0


def reserved_by_other(info: Mapping[str, Any], client: str | None, since: float) -> bool:
    """Return whether another client was given an image after a time (seconds since the epoch), and did not skip it.

    Clients that do not say who they are cannot be distinguished: nothing is reserved for them or from them.
    """
    if client is None:
        return False
    skipped = _skip_entry(info)
    for entry in _strategies(info).values():
        other = entry.get("client_id") if isinstance(entry, dict) else None
        if other in (None, "", _ANONYMOUS, client):
            continue
        given = _seconds(entry.get("ts"))
        gave_up = skipped.get("client_id") == other and _seconds(skipped.get("ts")) >= given
        if given > since and not gave_up:
            return True
    return False


def _unlabelled(datastore: Datastore) -> list[Candidate]:
    """Return the images without a final label, or whose final label was rejected, by id."""
    images, infos = set(datastore.get_unlabeled_images()), image_infos(datastore)
    for image in datastore.get_labeled_images():
        info = datastore.get_label_info(image, DefaultLabelTag.FINAL)
        if isinstance(info, dict) and info.get("status") == "rejected":
            images.add(image)
    return [Candidate(image, infos[image]) for image in sorted(images) if image in infos]


def _first_in_line(candidates: list[Candidate], datastore: Datastore) -> list[Candidate]:
    """Return the candidates to choose from now: those without objections, else the unreadable ones, else
    the skipped.
    """
    waiting = [candidate for candidate in candidates if not candidate.info.get(SKIPPED)]
    readable = [candidate for candidate in waiting if not _is_unreadable(candidate, datastore)]
    if readable or waiting:
        return readable or waiting
    return [min(candidates, key=lambda candidate: _seconds(_skip_entry(candidate.info).get("ts")))]


def _is_unreadable(candidate: Candidate, datastore: Datastore) -> bool:
    """Return whether scoring found the scan's file, as it is now, unusable."""
    record = read_record(candidate.info)
    if record is None or record.reason is None:
        return False
    return record.file == image_stamp(datastore, candidate.id)


def _skip(image: object, client: str | None, datastore: Datastore, now: float) -> None:
    if not isinstance(image, str):
        raise InvalidRequestError(f"skip: expected the id of an image, found {type(image).__name__}.")
    if not datastore.get_image_uri(image):
        raise UnknownNameError(f"skip: no image {image!r} in this datastore.")
    datastore.update_image_info(image, {SKIPPED: {"ts": round(now, 3), "client_id": client}})


def _client(request: Mapping[str, Any]) -> str | None:
    """Return the client of a request; None if it is not named."""
    client = request.get("client_id")
    return client if isinstance(client, str) and client not in ("", _ANONYMOUS) else None


def _strategies(info: Mapping[str, Any]) -> dict[str, Any]:
    entry = info.get("strategy")
    return entry if isinstance(entry, dict) else {}


def _skip_entry(info: Mapping[str, Any]) -> dict[str, Any]:
    entry = info.get(SKIPPED)
    return entry if isinstance(entry, dict) else {}


def _seconds(value: object) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else 0.0  # type: ignore[arg-type]


class FirstSample(SampleStrategy):
    """Strategy that suggests images in the order of their ids."""

    def __init__(self) -> None:
        super().__init__("First unlabelled image in the order of names")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """Choose the first by id."""
        return min(candidates, key=lambda candidate: candidate.id), {}


class RandomSample(SampleStrategy):
    """Strategy that weights each unlabelled image by the seconds since it was last offered.

    MONAI Label's own strategy fails when every image was offered within the same second; here a weight is
    never below one.
    """

    def __init__(self) -> None:
        super().__init__("Random unlabelled image, preferably one that was not shown recently")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """Choose at random; the answer names the "weight"."""
        now = time.time()
        offered = [last_offered(candidate.info, request.get("strategy")) for candidate in candidates]
        weights = [max(1.0, now - seconds) for seconds in offered]
        index = random.choices(range(len(candidates)), weights=weights)[0]
        return candidates[index], {"weight": int(weights[index])}


class DiversitySample(SampleStrategy):
    """Strategy that suggests the scan farthest from its nearest labelled one (greedy k-center, a core-set).

    Scans that others were given count as labelled. The scoring method `uncertainty` computes the descriptors on its
    way. Scans without one come after those with; if there are none, the choice is random.
    """

    def __init__(self) -> None:
        super().__init__("Scan that is least similar to the labelled ones (scoring method uncertainty)")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """Choose the farthest; the answer names its "distance", None where it was not scored yet."""
        from strokelabel.selection import distances_to_labelled

        descriptors = [_descriptor(candidate.info) for candidate in candidates]
        length = max(map(len, descriptors))
        described = [index for index, numbers in enumerate(descriptors) if length and len(numbers) == length]
        if not described:
            return random.choice(candidates), {"distance": None}
        free = {candidate.id for candidate in candidates}
        others = (_descriptor(info) for image, info in image_infos(datastore).items() if image not in free)
        known = [numbers for numbers in others if len(numbers) == length]
        distances = distances_to_labelled([descriptors[index] for index in described], known)
        best = int(distances.argmax())
        return candidates[described[best]], {"distance": round(float(distances[best]), 4)}


def _descriptor(info: Mapping[str, Any]) -> tuple[float, ...]:
    record = read_record(info)
    return record.descriptor if record else ()


class UncertaintySample(SampleStrategy):
    """Strategy that suggests the scan with the highest score of the method `uncertainty`.

    A score by earlier weights serves until the scan is scored again. A scan without any counts as the median of the
    others: it goes before those that are known to be rather certain, and after those known to be uncertain. Of equals
    the one without a score goes first, else chance decides; so it does as long as there are no scores.
    """

    def __init__(self) -> None:
        super().__init__("Scan that the model is most uncertain about (scoring method uncertainty)")

    def choose(
        self, candidates: list[Candidate], request: dict[str, Any], datastore: Datastore
    ) -> tuple[Candidate, dict[str, Any]]:
        """Choose the most uncertain; the answer names its "score", None where it was not scored yet."""
        records = [read_record(candidate.info) for candidate in candidates]
        scores = [record.score if record else None for record in records]
        known = [score for score in scores if score is not None]
        usual = median(known) if known else 0.0
        order = [(usual, True) if score is None else (score, False) for score in scores]
        highest = max(order)
        best = random.choice([index for index, score in enumerate(order) if score == highest])
        return candidates[best], {"score": scores[best]}


def make_strategies() -> dict[str, Strategy]:
    """Return the strategies by the names that viewers know; browsers start with "random"."""
    return {
        "random": RandomSample(),
        "first": FirstSample(),
        "uncertainty": UncertaintySample(),
        "diversity": DiversitySample(),
    }
