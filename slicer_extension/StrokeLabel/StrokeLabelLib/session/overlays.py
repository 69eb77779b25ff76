"""Overlays of the scan, and navigation to uncertain regions."""

from __future__ import annotations

import numpy as np

from ..client.jobs import Job
from ..errors import OperationError
from ..ops.mirror import asymmetry
from ..ops.regions import uncertain_regions
from .case import Case
from .segmentation import on_scan
from .session import Session
from .view import Overlay

NAMES = ("probability", "uncertainty", "tissues", "model", "asymmetry")
"""Names of the overlays; "model" is the model's mask, beside the corrected one."""

TISSUES_MODEL = "segment_tissues"
TISSUE_COLORS = {
    1: ("gray matter", 128, 174, 128),
    2: ("gray and white matter", 183, 196, 160),
    3: ("white matter", 238, 228, 190),
    4: ("cerebrospinal fluid", 100, 160, 220),
    5: ("lesion", 230, 60, 50),
}
MODEL_COLORS = {1: ("model's lesion", 80, 200, 255)}


class Overlays:
    """Commands about overlays."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._regions: list[tuple[int, int, int]] = []
        self._regions_of: tuple[Case, int] | None = None
        self._next = 0

    def show(self, name: str) -> None:
        """Show an overlay of `NAMES`, asking the server for it if need be; "" shows none."""
        session, case = self._session, self._session.case
        if case is None or not name:
            session.overlay = ""
            session.view.show_overlay(None)
            session.render()
            return
        if not session.allow("compare" if name == "model" else "overlay"):
            return
        if name == "asymmetry":
            scan = case.scan
            session.run(
                "Comparing the hemispheres",
                lambda job: asymmetry(scan),
                lambda values: self._put(
                    Overlay(name, scan.with_data(values), (1.0, 4.0), "coolwarm", opacity=self._opacity)
                ),
            )
        elif self._known(case, name) is None:
            self._fetch(case, name)
        else:
            self._put_known(case, name)

    def next_uncertain_region(self) -> None:
        """Show the slices through the next largest region in which the model can't decide."""
        session, case = self._session, self._session.case
        if not session.allow("next_uncertain") or case is None or case.probability is None:
            return
        state = (case, id(case.probability))
        if self._regions_of != state:
            self._regions = uncertain_regions(case.probability)
            self._regions_of, self._next = state, 0
        if not self._regions:
            session.status = "The model was sure everywhere."
        else:
            at = self._next % len(self._regions)
            session.status = f"Uncertain region {at + 1} of {len(self._regions)}."
            x, y, z = case.grid.to_mm(self._regions[at])
            session.view.jump_to((float(x), float(y), float(z)))
            self._next += 1
        session.render()

    @property
    def _opacity(self) -> float:
        return self._session.settings.overlay_opacity

    def _known(self, case: Case, name: str) -> np.ndarray | None:
        return {
            "probability": case.probability,
            "uncertainty": case.uncertainty,
            "tissues": case.tissues,
            "model": case.model_mask,
        }[name]

    def _put_known(self, case: Case, name: str) -> None:
        values = self._known(case, name)
        if values is None:
            return
        if name in ("tissues", "model"):
            colors = TISSUE_COLORS if name == "tissues" else MODEL_COLORS
            volume = case.scan.with_data(values.astype(np.uint8))
            self._put(Overlay(name, volume, (1, max(colors)), "", colors, self._opacity))
            return
        high = 1.0 if name == "probability" else max(float(values.max(initial=0)), 0.06)
        self._put(Overlay(name, case.scan.with_data(values), (0.05, high), "inferno", opacity=self._opacity))

    def _put(self, overlay: Overlay) -> None:
        self._session.overlay = overlay.name
        self._session.view.show_overlay(overlay)
        self._session.render()

    def _fetch(self, case: Case, name: str) -> None:
        session, client = self._session, self._session.client
        if client is None:
            session.view.show_error("Connect to a server first.")
            return
        model = TISSUES_MODEL if name == "tissues" else session.settings.model
        options = {**session.options_of(model), **({} if name == "tissues" else {"result": name})}
        image_id = case.image.image_id

        def work(job: Job) -> np.ndarray:
            return on_scan(client.infer(model, image_id, options, job=job).volume, case.grid)

        def done(values: np.ndarray) -> None:
            if name != "tissues" and values.dtype.kind != "f":
                raise OperationError(f"This server gives no {name} map; it needs a newer StrokeLabel.")
            setattr(case, name, values)
            self._put_known(case, name)

        session.run(f"Fetching the {name}", work, done)
