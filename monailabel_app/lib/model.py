"""Model of a server: found at start-up, loaded at first use, shared by all tasks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from strokelabel.registry import find_model

if TYPE_CHECKING:
    from strokelabel.fit.fine_tuning.versions import ModelVersions
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.registry import ModelSpec


class ServedModel:
    """Active version of a model, on each requested device.

    Args:
        name: a registered model, or the path of a .safetensors file. Its header is read now, the rest later.
        versions_folder: where versions that were fine-tuned lie; None to serve the model as it is.

    Raises:
        UnknownModelError, WeightsError: no such model, or a corrupt file.
    """

    def __init__(self, name: str, versions_folder: Path | None = None) -> None:
        self._spec = find_model(name)
        self._stamp: tuple[int, int] | None = None
        self.versions = _versions(versions_folder, self._spec)
        self._predictors: dict[str, Predictor] = {}
        self._loading = threading.Lock()

    @property
    def last_spec(self) -> ModelSpec:
        """Model as last read, without reading a file now."""
        return self._spec

    @property
    def spec(self) -> ModelSpec:
        """Model that would be used now: another version may have become active since the last request."""
        if self.versions is not None and (stamp := self.versions.stamp()) != self._stamp:
            _, self._spec = self.versions.active()
            self._stamp = stamp
        return self._spec

    def predictor(self, device: str) -> Predictor:
        """Return the predictor of the active version; one thread per device may use it at a time.

        Args:
            device: "cpu", "cuda" or "cuda:<n>".
        """
        with self._loading:
            spec = self.spec
            if any(predictor.spec.path != spec.path for predictor in self._predictors.values()):
                self._predictors.clear()  # another version is active now
            if device not in self._predictors:
                from strokelabel.inference.segment.predictor import Predictor

                self._predictors[device] = Predictor.from_spec(spec, device)
            return self._predictors[device]


def _versions(folder: Path | None, spec: ModelSpec) -> ModelVersions | None:
    if folder is None:
        return None
    from strokelabel.fit.fine_tuning.versions import ModelVersions

    return ModelVersions(folder, spec)
