"""Segmentation by the model: the mask, the threshold on its probability map, and refinement by clicks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..client.answers import InferProgress, InferResult
from ..client.jobs import Job
from ..errors import GeometryError, StrokeLabelLibError
from ..ops.regions import middle_of_largest
from ..volume import Grid, Volume, onto_grid
from .case import Case, Provenance
from .options import chosen_options
from .report import measure
from .session import Session
from .view import Prompt

PROMPT_KEYS = {
    "lesion": "foreground",
    "not lesion": "background",
    "add region": "add_region",
    "remove island": "remove_island",
}
"""Kinds of clicks, and the names that the server knows them by."""

STEPS = {"add region": "Add region", "remove island": "Remove island"}
"""Kinds of clicks that are a step of their own and never wait for others, and the names of these steps."""

REFINE = "refine"


class Segmentation:
    """Commands that ask the model."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asking = False

    def segment(self, model: str = "", options: Mapping[str, Any] | None = None) -> None:
        """Segment the open scan; strokes that were painted before stay on top.

        The mask is shown as soon as it comes; the probability map for the threshold follows.

        Args:
            model: name of a task; the chosen one by default.
            options: of the task, before those of `set_option`.
        """
        session = self._session
        case, client = session.case, session.client
        if not session.allow("segment") or case is None or client is None:
            return
        name, image_id = model or session.settings.model, case.image.image_id
        session.settings.model = name
        stage = {"stroke_stage": case.stroke_stage} if case.stroke_stage in session.stroke_stages else {}
        asked = {**session.options_of(name), **stage, **(options or {})}

        def work(job: Job) -> tuple[InferResult, np.ndarray]:
            result = client.infer(name, image_id, asked, job=job)
            return result, _lesion_of(result, case.grid)

        def done(found: tuple[InferResult, np.ndarray]) -> None:
            case.asked = name, asked
            self._segmented(case, name, asked, *found)
            self._fetch_probability(case, name, asked)

        session.run(f"Segmenting {image_id}", work, done)

    def fetch_report(self, show: Callable[[bytes], None]) -> None:
        """Get the page with pictures of the lesion that the model found, as the server draws it.

        Args:
            show: called with the page (HTML).
        """
        session = self._session
        case, client = session.case, session.client
        if not session.allow("report") or case is None or client is None or case.asked is None:
            return
        (name, options), image_id = case.asked, case.image.image_id
        session.run("Drawing the report", lambda job: client.page(name, image_id, options, job), show)

    def set_option(self, name: str, value: object) -> None:
        """Set an option of the chosen model; the next segmentation uses it.

        Args:
            name: of `ViewState.options`.
            value: of its kind; "" for the default.
        """
        session = self._session
        task = session.settings.model
        model = session.info.models.get(task)
        if model is None:
            return
        try:
            session.options[task] = chosen_options(model, session.options_of(task), name, value)
        except StrokeLabelLibError as error:
            session.view.show_error(str(error))
        session.render()

    def set_stroke_stage(self, stage: str) -> None:
        """Say of which stage the open scan's stroke is; the next segmentation estimates the outcome for it.

        Args:
            stage: of `ViewState.stroke_stages`.
        """
        case = self._session.case
        if case is None or stage not in self._session.stroke_stages:
            return
        case.stroke_stage = stage
        self._session.measurements = measure(case)
        self._session.render()

    def drag_threshold(self, threshold: float) -> None:
        """Show the mask at a threshold while the slider moves; no step of its own.

        Texts and measurements follow when it is released: they would make the mask lag behind the slider.
        """
        case = self._session.case
        if case is not None and case.probability is not None:
            case.mask = case.mask.at_threshold(case.probability, threshold)
            case.provenance.threshold = threshold
            self._session.view.show_mask(case.mask_volume)

    def set_threshold(self, threshold: float) -> None:
        """Take a threshold: one step that can be undone. Call it when the slider is released."""
        case = self._session.case
        if not self._session.allow("threshold") or case is None or case.probability is None:
            return
        case.mask = case.mask.at_threshold(case.probability, threshold)
        case.provenance.threshold = threshold
        record(self._session, case, f"Threshold {threshold:.2f}")

    def add_prompt(self, kind: str, point_mm: tuple[float, float, float]) -> None:
        """Add a click on missed lesion, on tissue that is not lesion, or on a region to add or an island to remove.

        Args:
            kind: of `PROMPT_KEYS`.
            point_mm: RAS.
        """
        session = self._session
        case = session.case
        if not session.allow("refine") or case is None:
            return
        try:
            case.grid.to_voxel(point_mm)
        except GeometryError as error:
            session.fail(error)
            return
        if kind in STEPS:
            self._send((Prompt(kind, point_mm),), STEPS[kind])
            return
        session.prompts = (*session.prompts, Prompt(kind, point_mm))
        session.view.show_prompts(session.prompts)
        if session.settings.refine_at_once:
            self.refine()

    def clear_prompts(self) -> None:
        """Remove the clicks that were not used yet."""
        self._session.prompts = ()
        self._session.view.show_prompts(())

    def refine(self) -> None:
        """Correct the mask around the clicks made since the last time."""
        prompts = self._session.prompts
        if prompts:
            several = f"Refine by {len(prompts)} clicks"
            self._send(prompts, "Refine by a click" if len(prompts) == 1 else several)

    def poll(self) -> None:
        """Ask how far the request is that is waited for; called by `Presenter.tick`."""
        session, client, waiting = self._session, self._session.client, self._session.job
        if client is None or waiting is None or not waiting.request_id or self._asking:
            return
        self._asking = True

        def work(job: Job) -> InferProgress | None:
            try:
                return client.progress(waiting.request_id, job)
            finally:
                self._asking = False

        def done(progress: InferProgress | None) -> None:
            waiting.progress = progress

        session.run("Asking how far it is", work, done, quietly=True)

    def _send(self, prompts: tuple[Prompt, ...], step: str) -> None:
        """Have the server correct the mask by clicks, as a step of the history."""
        session = self._session
        case, client = session.case, session.client
        if not session.allow("refine") or case is None or client is None:
            return
        clicks: dict[str, list[list[int]]] = {key: [] for key in PROMPT_KEYS.values()}
        for prompt in prompts:
            clicks[PROMPT_KEYS[prompt.kind]].append(list(case.grid.to_voxel(prompt.point_mm)))
        image_id, mask = case.image.image_id, case.mask_volume
        before = case.mask.current

        def work(job: Job) -> np.ndarray:
            return on_scan(client.infer(REFINE, image_id, clicks, mask, job).volume, case.grid) > 0

        def done(after: np.ndarray) -> None:
            # strokes painted meanwhile are newer than the answer
            painted = case.mask.current != before
            case.mask = case.mask.edited(np.where(painted, case.mask.current, after))
            session.prompts = tuple(p for p in session.prompts if p not in prompts)
            session.view.show_prompts(session.prompts)
            record(session, case, step)

        session.run("Refining" if step not in STEPS.values() else step, work, done)

    def _segmented(
        self, case: Case, name: str, options: dict[str, Any], result: InferResult, base: np.ndarray
    ) -> None:
        session = self._session
        first = case.model_mask is None
        case.mask, case.model_mask = case.mask.with_base(base), base
        case.probability = case.uncertainty = None
        case.structures, case.outcome = result.structures, result.outcome
        model = result.params.get("model")
        described = {"task": name, **(model if isinstance(model, dict) else {})}
        described |= {"options": options} if options else {}
        threshold = _threshold_of(options)
        case.provenance = Provenance(f"model {name}", described, threshold, case.provenance.edits)
        notes = " ".join(str(note) for note in result.params.get("notes") or [])
        record(session, case, "Segment")
        found = f"{session.measurements.volume_ml:.1f} ml of lesion"
        session.status = f"{name}: {found}. {notes}".strip()
        middle = middle_of_largest(case.mask.current) if first else None
        if middle is not None:
            x, y, z = case.grid.to_mm(middle)
            session.view.jump_to((float(x), float(y), float(z)))

    def _fetch_probability(self, case: Case, name: str, options: dict[str, Any]) -> None:
        session, client = self._session, self._session.client
        if client is None:
            return
        image_id = case.image.image_id

        asked = {**options, "result": "probability"}

        def work(job: Job) -> np.ndarray:
            return on_scan(client.infer(name, image_id, asked, job=job).volume, case.grid)

        def done(values: np.ndarray) -> None:
            if values.dtype.kind == "f":  # a server that knows no probability answers the mask
                case.probability = values

        session.run("Fetching the probability map", work, done, quietly=True)


def _threshold_of(options: Mapping[str, Any]) -> float | None:
    """Return the threshold on the probability that was asked for; None for the model's own decision."""
    try:
        return float(options["threshold"])
    except (KeyError, ValueError):
        return None


def _lesion_of(result: InferResult, grid: Grid) -> np.ndarray:
    """Return the lesion of an answer: booleans in the scan's order.

    Raises:
        GeometryError: the answer does not lie on the scan.
    """
    values = result.params.get("label_names") or {}
    return on_scan(result.volume, grid) == int(values.get("lesion", 1))


def on_scan(volume: Volume, grid: Grid) -> np.ndarray:
    """Return the voxels of an answer in the scan's order.

    Raises:
        GeometryError: the answer does not lie on the scan.
    """
    return onto_grid(volume, grid).data


def record(session: Session, case: Case, name: str) -> None:
    """Note a step of the mask, and show it."""
    case.dirty = True
    case.provenance.edits.append(name)
    case.history.record(name, case.mask, case.provenance.threshold)
    session.mask_changed()
    session.render()
