"""Structures that a lesion touches, in answers of the tasks that segment, where a parcellation is installed."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from strokelabel.errors import WeightsError
from strokelabel.inference.interruption import Check
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellation, Parcellator
from strokelabel.inference.segment.structure_tables import check_sees_through_lesions
from strokelabel.io.images import Image
from strokelabel.registry import ModelSpec, find_structures_model
from strokelabel.structures import Structure, structures_of

logger = logging.getLogger(__name__)

_RECENT = 4
"""Parcellations in memory, a byte per voxel each; the clicks and thresholds of a session ask for the same again."""


class StructureFinder:
    """Parcellations of scans, the last ones kept.

    Args:
        spec: of a parcellation; its weights are read at first use.

    Raises:
        WeightsError: it has a class for lesions, so that it does not say what lies beneath one.
        LabelMapError: it has structures that are not known.
    """

    def __init__(self, spec: ModelSpec) -> None:
        check_sees_through_lesions(spec)
        self.spec = spec
        self.structures: tuple[Structure, ...] = structures_of(spec.class_ids)
        self._loaded: dict[str, Parcellator] = {}
        self._recent: OrderedDict[tuple[str, PredictionOptions], Parcellation] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def configured(cls, name: str | None) -> StructureFinder | None:
        """Return the finder of a server; None where there is none.

        Args:
            name: from `--conf structures`; None for the registered model, where it is installed.

        Raises:
            UnknownModelError, WeightsError: the named model cannot be used; the registered one is only left out.
        """
        try:
            spec = find_structures_model(name or None)
            return None if spec is None else cls(spec)
        except WeightsError as error:
            if name:
                raise
            logger.warning(f"Answers have no table of structures: {error}")
            return None

    def known(self, content: str, options: PredictionOptions) -> Parcellation | None:
        """Return the parcellation of a scan that was parcellated recently.

        Args:
            content: `scan_content` of the scan.
            options: of the prediction; see `find`.
        """
        key = (content, _of_structures(options))
        with self._lock:
            if not content or key not in self._recent:
                return None
            self._recent.move_to_end(key)
            return self._recent[key]

    def find(
        self,
        image: Image,
        content: str,
        options: PredictionOptions,
        device: str,
        check: Check,
        progress: OnProgress,
    ) -> Parcellation:
        """Parcellate a scan; call it within the device's turn.

        Args:
            image: the scan.
            content: `scan_content` of it.
            options: of the prediction; the CT window and the view are used.
            device: where to compute.
            check: raises to stop.
            progress: told how far it is.
        """
        if device not in self._loaded:
            self._loaded[device] = Parcellator.from_model(self.spec.path, device)
        loaded = self._loaded[device]
        parcellator = loaded.with_options(_of_structures(options))
        with parcellator.interruptible(check):
            found = parcellator.parcellate(image, progress)
        with self._lock:
            self._recent[content, parcellator.options] = found
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return found


def _of_structures(options: PredictionOptions) -> PredictionOptions:
    """Return what of the options of a prediction decides a parcellation."""
    return PredictionOptions(ct_window=options.ct_window, view=options.view)
