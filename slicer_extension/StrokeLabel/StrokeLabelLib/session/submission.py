"""Handing in a mask, and deciding about a model's."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import replace as changed
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ..client.answers import FINAL, ORIGINAL, ImageEntry, LabelEntry
from ..client.api import Client
from ..client.jobs import Job
from ..errors import FileFormatError, GeometryError, NotFoundError, StrokeLabelLibError
from ..volume import Volume, onto_grid
from .case import Case, Sequence
from .cases import Cases, lesion_of
from .report import write_report
from .session import Session
from .view import Question


class Submission:
    """Commands that hand in."""

    def __init__(self, session: Session, cases: Cases) -> None:
        self._session = session
        self._cases = cases

    def submit(self, *, then_next: bool = False) -> None:
        """Submit the mask as the scan's final label.

        It is first saved on this computer, and that copy goes only once the server has confirmed the label. If
        another annotator submitted one since the scan was opened, the user is asked.

        Args:
            then_next: open the next scan afterwards.
        """
        if self._session.allow("submit_and_next" if then_next else "submit"):
            self._send(replace=False, then_next=then_next)

    def accept(self, *, then_next: bool = False) -> None:
        """Accept a model's label: unchanged as it is, corrected if the mask was changed."""
        session, case, client = self._session, self._session.case, self._session.client
        if not session.allow("accept") or case is None or client is None:
            return
        if case.dirty:
            self._send(replace=False, then_next=then_next)
            return
        self._decide(case, client, "accepted", "", then_next)

    def reject(self, comment: str = "", *, then_next: bool = False) -> None:
        """Reject a model's label: it is never trained on, and the scan is offered again."""
        session, case, client = self._session, self._session.case, self._session.client
        if session.allow("reject") and case is not None and client is not None:
            self._decide(case, client, "rejected", comment, then_next)

    def export(self, path: Path) -> None:
        """Write the mask into a file, and a report beside it (`<name>_report.json`)."""
        session, case = self._session, self._session.case
        if not session.allow("export") or case is None:
            return
        try:
            session.files.write(path, case.mask_volume)
            write_report(path, case, session.measurements)
        except StrokeLabelLibError as error:
            session.fail(error)
            return
        session.status = f"Wrote {path.name} and its report."
        session.render()

    def _send(self, replace: bool, then_next: bool) -> None:
        session, case, client = self._session, self._session.case, self._session.client
        if case is None or client is None:
            return
        case.dirty = True
        session.keep_working_copy()
        image_id, mask, known = case.image.image_id, case.mask_volume, case.known_label
        info = _label_info(case, session.clock() - case.opened_at)
        sent = case.mask

        def work(job: Job) -> Any:  # noqa: ANN401 - the newer label, or the scans as listed afterwards
            newer = None if replace else _newer_label(client, image_id, known, job)
            if newer is not None and _differs(client, image_id, mask, newer, job):
                return newer
            client.save_label(image_id, mask, info, job=job)
            return client.images()

        def done(answer: Any) -> None:  # noqa: ANN401
            if isinstance(answer, LabelEntry):
                self._ask(case, answer, then_next)
                return
            case.dirty = case.mask is not sent  # painted on while it was sent
            self._handed_in(case, answer, f"Submitted {image_id}.", then_next)

        session.run(f"Submitting {image_id}", work, done)

    def _ask(self, case: Case, newer: LabelEntry, then_next: bool) -> None:
        at = datetime.fromtimestamp(newer.saved_at, timezone.utc).astimezone().strftime("%H:%M")
        who = f" by {newer.client_id}" if newer.client_id else ""
        text = f"Another mask of {case.image.image_id} was submitted at {at}{who} after you opened it."
        answers = {"keep": "Keep theirs", "replace": "Replace it with mine"}

        def answered(answer: str) -> None:
            if answer == "replace" and self._session.case is case:
                self._send(replace=True, then_next=then_next)

        self._session.status = "Not submitted; your mask is kept on this computer."
        self._session.view.ask(Question(text, answers), answered)

    def _decide(self, case: Case, client: Client, status: str, comment: str, then_next: bool) -> None:
        image_id = case.image.image_id

        def work(job: Job) -> tuple[ImageEntry, ...]:
            client.set_label_status(image_id, ORIGINAL, status, comment, job)
            return client.images()

        def done(images: tuple[ImageEntry, ...]) -> None:
            self._handed_in(case, images, f"{status.capitalize()} the model's mask of {image_id}.", then_next)

        self._session.run(f"Sending to the server: {status}", work, done)

    def _handed_in(self, case: Case, images: tuple[ImageEntry, ...], status: str, then_next: bool) -> None:
        session = self._session
        session.images, session.status = images, status
        case.sequences = _with_new_entries(case, images)
        case.known_label = case.image.labels.get(FINAL)
        if not case.dirty and session.client is not None:
            session.copies.remove_own(session.client.url, case.image.image_id)
            if case.restored is not None:
                session.copies.remove(case.restored)
                case.restored = None
        if then_next:
            self._cases.next()


def _with_new_entries(case: Case, images: Many[ImageEntry]) -> tuple[Sequence, ...]:
    entries = {image.image_id: image for image in images}
    return tuple(changed(s, image=entries.get(s.image.image_id, s.image)) for s in case.sequences)


def _newer_label(client: Client, image_id: str, known: LabelEntry | None, job: Job) -> LabelEntry | None:
    image = next((i for i in client.images(job) if i.image_id == image_id), None)
    if image is None:
        raise NotFoundError(
            f"{image_id} is no longer on the server, so its mask can't be submitted; it is kept on this computer."
        )
    label = image.labels.get(FINAL)
    return label if label is not None and label != known else None


def _differs(client: Client, image_id: str, mask: Volume, newer: LabelEntry, job: Job) -> bool:
    """Return whether the label on the server is another mask; the same may be there after a lost connection."""
    try:
        there = onto_grid(client.download_label(image_id, FINAL, job), mask.grid)
        return not np.array_equal(lesion_of(there.data, newer), mask.data > 0)
    except (GeometryError, FileFormatError):
        return True


def _label_info(case: Case, seconds: float) -> dict[str, Any]:
    return {"provenance": case.provenance.as_json(), "seconds": round(seconds, 1)}
