"""Answers of the server, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..volume import Volume
from .json_values import as_mapping, as_number
from .simulation import SimulationOffer, read_offer

FINAL, ORIGINAL = "final", "original"
"""Tags of labels: an annotator's, and a model's."""

_MINUTE_S = 60.0


@dataclass(frozen=True)
class LabelEntry:
    """A label that the server holds for a scan.

    Attributes:
        tag: `FINAL`, `ORIGINAL`, or another.
        saved_at: seconds since 1970; 0 if unknown.
        client_id: who submitted it; "" if unknown.
        status: "pseudo", "accepted", "corrected", "rejected", or "".
        info: everything the server says about it.
    """

    tag: str
    saved_at: float = 0.0
    client_id: str = ""
    status: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, int]:
        """Value of each class by its name in lower case, as far as the server names them."""
        params, listed = as_mapping(self.info.get("params")), self.info.get("label_info")
        names = dict(as_mapping(params.get("label_names")))
        for entry in map(as_mapping, listed if isinstance(listed, list) else ()):
            names[str(entry.get("name"))] = entry.get("idx", entry.get("id"))
        return {name.lower(): _whole(value) for name, value in names.items() if _whole(value) > 0}

    @property
    def structures(self) -> Mapping[str, Any]:
        """Structures that the lesion of a model's label touches, as with `InferResult`."""
        return as_mapping(as_mapping(self.info.get("params")).get("structures"))

    @property
    def outcome(self) -> Mapping[str, Any]:
        """Estimated outcome of the lesion of a model's label, as with `InferResult`."""
        return as_mapping(as_mapping(self.info.get("params")).get("outcome"))


@dataclass(frozen=True)
class ImageEntry:
    """A scan in the server's datastore, with its place in BIDS as far as its name tells.

    Attributes:
        image_id: the server's id.
        subject: "07" of "sub-07_ses-2_T1w", else "".
        session: "2", else "".
        sequence: "T1w", else the id.
        labels: by tag.
    """

    image_id: str
    subject: str = ""
    session: str = ""
    sequence: str = ""
    labels: Mapping[str, LabelEntry] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """One of "new", "pseudo-label", "rejected", "submitted"."""
        if FINAL in self.labels:
            return "rejected" if self.labels[FINAL].status == "rejected" else "submitted"
        original = self.labels.get(ORIGINAL)
        if original is None:
            return "new"
        return "rejected" if original.status == "rejected" else "pseudo-label"

    def same_visit(self, other: ImageEntry) -> bool:
        """Return whether both are of the same subject and session."""
        return bool(self.subject) and (self.subject, self.session) == (other.subject, other.session)


@dataclass(frozen=True)
class ModelInfo:
    """A task of the server.

    Attributes:
        name: as in the address of requests.
        kind: MONAI Label's type: "segmentation", "deepgrow", "scribbles", ...
        labels: name -> value in the answer's image.
        description: for users.
        options: option -> default, or list of choices.
        seconds: that an answer takes, about; None where the server does not say.
    """

    name: str
    kind: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    description: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def stroke_stages(self) -> tuple[str, ...]:
        """Stages of a stroke that can be said, for a server that estimates an outcome; the first says nothing."""
        stages = self.options.get("stroke_stage")
        return tuple(map(str, stages)) if isinstance(stages, list) else ()

    @property
    def title(self) -> str:
        """Name in lists, with the time that an answer takes where it is known."""
        if self.seconds is None:
            return self.name
        return f"{self.name} (about {_duration(self.seconds)})"


@dataclass(frozen=True)
class ServerInfo:
    """Contents of /info/.

    Attributes:
        name, version: of the app.
        models, trainers: by name.
        strategies: names of the orders in which scans are offered.
        total, completed: scans, and those with a final label.
        train_stats: by trainer.
        left_out: a sentence for each file that the server does not serve, the first of them.
        left_out_total: how many there are.
        simulation: simulated scans of a sample head.
    """

    name: str = ""
    version: str = ""
    models: Mapping[str, ModelInfo] = field(default_factory=dict)
    trainers: Mapping[str, ModelInfo] = field(default_factory=dict)
    strategies: tuple[str, ...] = ()
    total: int = 0
    completed: int = 0
    train_stats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    left_out_total: int = 0
    simulation: SimulationOffer = field(default_factory=SimulationOffer)


@dataclass(frozen=True, eq=False)
class InferResult:
    """An answer of a model.

    Attributes:
        volume: labels, or float32 for a probability or uncertainty map.
        params: the JSON beside it.
    """

    volume: Volume
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def structures(self) -> Mapping[str, Any]:
        """Structures that the lesion touches, as the server tells them; empty where it does not."""
        return as_mapping(self.params.get("structures"))

    @property
    def outcome(self) -> Mapping[str, Any]:
        """Outcome that the server estimates of the stroke, or the reason why not; empty where it estimates none."""
        return as_mapping(self.params.get("outcome"))


@dataclass(frozen=True)
class InferProgress:
    """Progress of a request to a model.

    Attributes:
        stage: what the server does, in its words; "" while the request waits for its turn.
        fraction: of the work that is done, from 0 to 1.
        ahead: requests that are served before it.
        remaining_s: seconds until the answer, about; None where the server cannot tell yet.
    """

    stage: str = ""
    fraction: float = 0.0
    ahead: int = 0
    remaining_s: float | None = None

    @property
    def text(self) -> str:
        """For users: "adapting, 43 %, about 2 min left"; "" if there is nothing to say."""
        if not self.stage:
            others = "1 other request" if self.ahead == 1 else f"{self.ahead} other requests"
            return f"waiting for {others}" if self.ahead else ""
        left = "" if self.remaining_s is None else f", about {_duration(self.remaining_s)} left"
        return f"{self.stage}, {100 * self.fraction:.0f} %{left}"


@dataclass(frozen=True)
class TrainStatus:
    """State of a training.

    Attributes:
        running: whether it does.
        state: MONAI Label's word: "RUNNING", "DONE", "ERROR", ...; "" if nothing was trained yet.
        epoch, epochs: reached and planned.
        best_metric: best validation Dice so far, or 0.
        message: the last thing that training said, for users.
    """

    running: bool = False
    state: str = ""
    epoch: int = 0
    epochs: int = 0
    best_metric: float = 0.0
    message: str = ""


_ENTITIES = re.compile(
    r"^sub-([A-Za-z0-9]+)(?:_ses-([A-Za-z0-9]+))?(?:_[A-Za-z0-9]+-[A-Za-z0-9]+)*_([A-Za-z0-9]+)$"
)

_LOGGED = re.compile(r"^\[[^\]]*\] (?:\[[^\]]*\] )*\([^)]*\) - ")
"""Prefix of a line of MONAI Label's log: time, process, thread, level, place."""


def read_image(image_id: str, entry: Mapping[str, Any]) -> ImageEntry:
    """Read an entry of GET /datastore/?output=all; missing values are empty."""
    name = _ENTITIES.match(image_id)
    subject, session, sequence = (part or "" for part in name.groups()) if name else ("", "", image_id)
    labels = {
        tag: _read_label(tag, as_mapping(label)) for tag, label in as_mapping(entry.get("labels")).items()
    }
    return ImageEntry(image_id, subject, session, sequence, labels)


def read_info(answer: Mapping[str, Any]) -> ServerInfo:
    """Read the answer of GET /info/; missing values are empty."""
    datastore = as_mapping(answer.get("datastore"))
    left_out = datastore.get("left_out")
    stats = {name: as_mapping(value) for name, value in as_mapping(answer.get("train_stats")).items()}
    return ServerInfo(
        name=str(answer.get("name", "")),
        version=str(answer.get("version", "")),
        models={
            name: _read_model(name, as_mapping(m)) for name, m in as_mapping(answer.get("models")).items()
        },
        trainers={
            name: _read_model(name, as_mapping(m)) for name, m in as_mapping(answer.get("trainers")).items()
        },
        strategies=tuple(as_mapping(answer.get("strategies"))),
        total=_whole(datastore.get("total")),
        completed=_whole(datastore.get("completed")),
        train_stats=stats,
        left_out=tuple(str(line) for line in left_out) if isinstance(left_out, list) else (),
        left_out_total=_whole(datastore.get("left_out_total")),
        simulation=read_offer(answer.get("simulation")),
    )


def read_train_status(answer: Mapping[str, Any], stats: Mapping[str, Any]) -> TrainStatus:
    """Combine GET /train/ and the trainer's stats of GET /info/."""
    state = str(answer.get("status", ""))
    said = [_LOGGED.sub("", str(line).strip()) for line in answer.get("details") or []]
    said = [line for line in said if line and not line.startswith("Result: ")]  # the same as JSON
    return TrainStatus(
        running=state in ("RUNNING", "SUBMITTED"),
        state=state,
        epoch=_whole(stats.get("epoch")),
        epochs=_whole(stats.get("total_epochs")),
        best_metric=as_number(stats.get("best_metric")),
        message=said[-1] if said else "",
    )


def read_progress(answer: Mapping[str, Any]) -> InferProgress | None:
    """Read the answer of GET /infer/progress; None where the server does not know the request."""
    if answer.get("state") not in ("waiting", "running"):
        return None
    left = answer.get("remaining_s")
    return InferProgress(
        stage=str(answer.get("stage", "")),
        fraction=min(max(as_number(answer.get("fraction")), 0.0), 1.0),
        ahead=_whole(answer.get("ahead")),
        remaining_s=as_number(left) if isinstance(left, (int, float)) else None,
    )


def _duration(seconds: float) -> str:
    minutes = seconds / _MINUTE_S
    return f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"


def _read_label(tag: str, label: Mapping[str, Any]) -> LabelEntry:
    info = as_mapping(label.get("info"))
    return LabelEntry(
        tag, as_number(info.get("ts")), str(info.get("client_id", "")), str(info.get("status", "")), info
    )


def _read_model(name: str, model: Mapping[str, Any]) -> ModelInfo:
    labels = model.get("labels")
    values = {str(n): _whole(v) for n, v in labels.items()} if isinstance(labels, Mapping) else {}
    kind, description = str(model.get("type", "")), str(model.get("description", ""))
    seconds = model.get("seconds")
    known = float(seconds) if isinstance(seconds, (int, float)) and seconds > 0 else None
    return ModelInfo(name, kind, values, description, as_mapping(model.get("config")), known)


def _whole(value: Any) -> int:  # noqa: ANN401
    return int(as_number(value))
