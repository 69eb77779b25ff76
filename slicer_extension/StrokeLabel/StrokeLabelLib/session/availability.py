"""Availability of the commands, with reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..client.answers import ImageEntry, ServerInfo, TrainStatus
from ..client.api import Client
from ..client.jobs import Job
from .case import Case
from .settings import Settings

NEEDS_NOTHING = ("connect", "test_connection")
NEEDS_SERVER = ("refresh", "open", "next", "upload", "train", "stop_training", "simulate")
NEEDS_CASE = ("edit", "apply", "undo", "redo", "export", "overlay", "close")
NEEDS_CASE_AND_SERVER = ("segment", "refine", "submit", "submit_and_next", "accept", "reject", "report")
NEEDS_PREDICTION = ("threshold", "next_uncertain", "compare")
COMMANDS = (
    *NEEDS_NOTHING,
    *NEEDS_SERVER,
    *NEEDS_CASE,
    *NEEDS_CASE_AND_SERVER,
    *NEEDS_PREDICTION,
    "cancel",
)
"""Names of all commands, as views may use them for their buttons."""

_WHILE_BUSY = ("cancel", "stop_training", "edit", "simulate")
"""Painting continues while a request runs: what comes back is put under the strokes."""


class SessionState(Protocol):
    """Part of a `Session` that decides which commands can be used."""

    settings: Settings
    client: Client | None
    info: ServerInfo
    images: tuple[ImageEntry, ...]
    case: Case | None
    job: Job | None
    training: TrainStatus


def blocked_commands(session: SessionState) -> dict[str, str]:
    """Return the reason why a command cannot be used now, by command. All other commands can be used."""
    reasons = {command: _reason(session, command) for command in COMMANDS}
    return {command: reason for command, reason in reasons.items() if reason}


def _reason(session: SessionState, command: str) -> str:
    if session.job is not None and command not in _WHILE_BUSY:
        return f"Wait for this, or cancel it: {session.job.message}"
    if command in (*NEEDS_SERVER, *NEEDS_CASE_AND_SERVER) and session.client is None:
        return "Connect to a server first."
    if command in (*NEEDS_CASE, *NEEDS_CASE_AND_SERVER, *NEEDS_PREDICTION) and session.case is None:
        return "Open a scan first: choose one in the list, or press Next."
    return _RULES[command](session) if command in _RULES else ""


def _training(session: SessionState) -> str:
    if session.training.running:
        return "Training is already running; you can stop it."
    if not session.info.trainers:
        return "This server offers no training."
    if not any(image.status == "submitted" for image in session.images):
        return "Submit at least one mask first: the model learns from submitted masks."
    return ""


def _unless(holds: Callable[[SessionState], object], reason: str) -> Callable[[SessionState], str]:
    return lambda session: "" if holds(session) else reason


_HAS_PROBABILITY = _unless(
    lambda s: s.case and s.case.probability is not None,
    "Segment first: this works on the model's probability map.",
)
_WAITS_FOR_DECISION = _unless(
    lambda s: s.case and s.case.is_pseudo_label,
    "This scan has no model label to accept or reject.",
)
_RULES: dict[str, Callable[[SessionState], str]] = {
    "segment": _unless(lambda s: s.settings.model, "This server offers no task that segments."),
    "cancel": _unless(lambda s: s.job is not None, "No task is running."),
    "train": _training,
    "simulate": _unless(
        lambda s: s.info.simulation.sequences,
        "This server simulates no scans; it needs a newer StrokeLabel.",
    ),
    "stop_training": _unless(lambda s: s.training.running, "No training is running."),
    "threshold": _HAS_PROBABILITY,
    "next_uncertain": _HAS_PROBABILITY,
    "compare": _unless(
        lambda s: s.case and s.case.model_mask is not None,
        "Segment first: there is no mask of the model to compare with.",
    ),
    "report": _unless(
        lambda s: s.case and s.case.asked is not None,
        "Segment first: the report is about the lesion that the model finds.",
    ),
    "undo": _unless(lambda s: s.case and s.case.history.undo_name, "There is nothing to undo."),
    "redo": _unless(lambda s: s.case and s.case.history.redo_name, "There is nothing to redo."),
    "accept": _WAITS_FOR_DECISION,
    "reject": _WAITS_FOR_DECISION,
}
