"""Versions of a model that fine-tuning made, and which of them is active."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from strokelabel.errors import OptionError, StrokeLabelError, WeightsError
from strokelabel.io.atomic import atomic_write_json
from strokelabel.registry import ModelSpec, read_spec

ORIGIN = "origin"
"""Name of the model that all versions began with."""

_ACTIVE, _VERSION, _WEIGHTS = "active.json", "version.json", "model.safetensors"
_LOG = logging.getLogger(__name__)


class VersionRecord(BaseModel):
    """Record of a version.

    Attributes:
        name: "0001", "0002", ... in order of their making.
        weights_sha256: of its weights file.
        parent: the version that fine-tuning began with.
        parent_sha256: of that version's weights.
        created: ISO 8601, UTC.
        session: of fine-tuning; the same labels and options have the same.
        details: labels (hashes), options, metrics, decision and benchmark, as JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weights_sha256: str
    parent: str
    parent_sha256: str
    created: str
    session: str
    details: dict[str, Any]


class ModelVersions:
    """Versions of one model.

    Args:
        folder: of all models' versions; need not exist yet.
        origin: the model that they began with. Its weights are not copied.
    """

    def __init__(self, folder: Path, origin: ModelSpec) -> None:
        self.origin = origin
        self.folder = Path(folder) / f"{origin.name}-{origin.sha256[:8]}"

    def stamp(self) -> tuple[int, int] | None:
        """Return a value that changes whenever another version becomes active; fast to compute."""
        try:
            status = (self.folder / _ACTIVE).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def history(self) -> tuple[str, ...]:
        """Return the names of the versions that were active, the active one last; begins with `ORIGIN`."""
        path = self.folder / _ACTIVE
        if not path.exists():
            return (ORIGIN,)
        try:
            names = json.loads(path.read_text(encoding="utf-8"))["history"]
            if names[0] == ORIGIN and all(isinstance(name, str) for name in names):
                return tuple(names)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass
        _LOG.error(
            "%s cannot be read: the original model is active; `strokelabel models` can activate another", path
        )
        return (ORIGIN,)

    def active(self) -> tuple[str, ModelSpec]:
        """Return the name and description of the active version; of the one before it where its files are damaged."""
        for name in reversed(self.history()):
            try:
                return name, self.spec(name)
            except WeightsError as error:
                _LOG.error("version %s of %s is skipped: %s", name, self.origin.name, error)
        return ORIGIN, self.origin

    def spec(self, name: str) -> ModelSpec:
        """Return the description of a version with undamaged weights.

        Raises:
            WeightsError: no such version, or damaged weights.
        """
        if name == ORIGIN:
            return self.origin
        record = self.record(name)
        spec = read_spec(self.folder / name / _WEIGHTS)
        if spec.sha256 != record.weights_sha256:
            raise WeightsError(
                f"{spec.path}: expected the weights that {_VERSION} names, the file was changed"
            )
        return spec

    def records(self) -> list[VersionRecord]:
        """Return all complete versions, oldest first; damaged records are left out."""
        found = []
        for path in sorted(self.folder.glob(f"[0-9]*/{_VERSION}")):
            try:
                found.append(self.record(path.parent.name))
            except WeightsError as error:
                _LOG.warning("%s", error)
        return found

    def record(self, name: str) -> VersionRecord:
        """Return the record of a version.

        Raises:
            WeightsError: there is no such version, or its record is damaged.
        """
        path = self.folder / name / _VERSION
        if not name.isdigit() or not path.is_file():
            known = ", ".join(
                [ORIGIN, *(p.parent.name for p in sorted(self.folder.glob(f"[0-9]*/{_VERSION}")))]
            )
            raise WeightsError(f"{self.folder}: expected one of the versions {known}, got {name!r}")
        try:
            return VersionRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise WeightsError(f"{path}: expected the record of a version ({error})") from error

    def trained_on(self) -> set[str]:
        """Return the subjects whose labels the active version or one of its ancestors was trained on."""
        known = {record.name: record for record in self.records()}
        name, subjects = self.active()[0], set()
        while name in known:
            record = known.pop(name)
            subjects |= {
                str(label.get("subject"))
                for label in record.details.get("labels", [])
                if label.get("part") == "train"
            }
            name = record.parent
        return subjects

    def add(
        self, write: Callable[[Path, str], ModelSpec], describe: Callable[[str, ModelSpec], VersionRecord]
    ) -> VersionRecord:
        """Keep a new version; it is not active yet.

        Args:
            write: writes the weights to a path, given the version's name too, and returns their description.
            describe: makes the record, given the version's name and that description.

        Raises:
            OutputError: no place to write to.
        """
        numbers = [int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit()]
        name = f"{max(numbers, default=0) + 1:04d}"
        record = describe(name, write(self.folder / name / _WEIGHTS, name))
        atomic_write_json(self.folder / name / _VERSION, record.model_dump(mode="json"))
        return record

    def activate(self, name: str) -> None:
        """Make a version the active one, once its weights are verified.

        Raises:
            WeightsError: no such version, or damaged weights.
            OutputError: it cannot be written down.
        """
        self.spec(name)
        history = self.history()
        if history[-1] != name:
            self._write((*history, name))

    def rollback(self) -> str:
        """Go back to the version that was active before; return its name.

        Raises:
            OptionError: there is none.
        """
        history = self.history()
        if len(history) < 2:
            raise OptionError(
                f"{self.origin.name}: expected a version to go back from, the original model is active"
            )
        before = history[:-1]
        try:
            self.spec(before[-1])
        except StrokeLabelError as error:
            raise OptionError(f"{self.origin.name}: cannot go back to {before[-1]}: {error}") from error
        self._write(before)
        return before[-1]

    def _write(self, history: tuple[str, ...]) -> None:
        atomic_write_json(
            self.folder / _ACTIVE, {"format": 1, "active": history[-1], "history": list(history)}
        )


MARGIN = 0.02
"""Lesion Dice that new weights may lose on the synthetic benchmark, against the model that all versions began with."""

_SAME = 1e-6
"""Dice values closer than this are equal: float32 sums differ from machine to machine."""


class Scores(BaseModel):
    """Mean lesion Dice of a model; None where there was nothing to measure.

    Attributes:
        submitted: on submitted labels that were held out.
        benchmark: on the fixed synthetic benchmark.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    submitted: float | None = None
    benchmark: float | None = None


class Decision(BaseModel):
    """Decision about a version, with the scores that it rests on.

    Attributes:
        activate: whether the new weights take over.
        reasons: one sentence per comparison.
        before: scores of the version in use until now.
        after: scores of the new weights.
        origin: scores of the model that all versions began with.
        margin: see `MARGIN`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activate: bool
    reasons: tuple[str, ...]
    before: Scores
    after: Scores
    origin: Scores
    margin: float


def decide(before: Scores, after: Scores, origin: Scores, margin: float = MARGIN) -> Decision:
    """Compare new weights with those in use.

    They take over if they are not worse on held-out submitted labels, and not worse by more than the margin on the
    benchmark. The benchmark is compared with the origin's, not with the last version's, so that small losses cannot
    add up from one version to the next.

    Args:
        before: of the version in use.
        after: of the new weights.
        origin: of the model that all versions began with.
        margin: Dice that may be lost on the benchmark.
    """
    verdicts = []
    if after.submitted is not None and before.submitted is not None:
        good = after.submitted >= before.submitted - _SAME
        verdicts.append((good, _compared("held-out labels", before.submitted, after.submitted, good)))
    if after.benchmark is not None and origin.benchmark is not None:
        good = after.benchmark >= origin.benchmark - margin - _SAME
        text = _compared("the synthetic benchmark", origin.benchmark, after.benchmark, good)
        verdicts.append((good, f"{text} (margin {margin:g})"))
    if not verdicts:
        verdicts.append((False, "nothing to evaluate on: submit labels of at least two subjects"))
    return Decision(
        activate=all(good for good, _ in verdicts),
        reasons=tuple(text for _, text in verdicts),
        before=before,
        after=after,
        origin=origin,
        margin=margin,
    )


def _compared(where: str, old: float, new: float, good: bool) -> str:
    return f"lesion Dice on {where} went from {old:.3f} to {new:.3f}: {'accepted' if good else 'refused'}"
