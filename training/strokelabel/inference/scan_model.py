"""Base of the predictors: a network with its description, and the way of a scan to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.device import resolve_device, voxels_that_fit
from strokelabel.inference.engine import Engine
from strokelabel.inference.network_input import looks_like_ct, prepare_intensities
from strokelabel.inference.options import PredictionOptions
from strokelabel.io import Image, check_volume
from strokelabel.io.checks import has_two_values
from strokelabel.networks.weights import load_weights, multiple_of
from strokelabel.registry import ModelSpec
from strokelabel.types import PathLike, Volume


class ScanModel:
    """A model that is shown scans of any orientation and spacing.

    Attributes:
        task: of the models that this class takes; see `strokelabel.registry`.
        purpose: what such a model does, for messages.
        multiple: divisor of the sides of the boxes that the network takes.

    Args:
        spec: the model's description; its spacing and field of view decide what the network is shown.
        network: maps (1, 1, x, y, z) to (1, channels, x, y, z); on `device`, in evaluation mode.
        device: where to compute.
        options: used where a call is not given others.

    Raises:
        WeightsError: the model is of another task.
    """

    task: ClassVar[str]
    purpose: ClassVar[str]

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        device: torch.device,
        options: PredictionOptions | None = None,
    ) -> None:
        if spec.task != self.task:
            raise WeightsError(
                f"{spec.path}: expected a model that {self.purpose}, this one is for {spec.task}; {self._advice(spec)}"
            )
        self.spec = spec
        self.network = network
        self.device = device
        self.options = options or PredictionOptions()
        self.multiple = multiple_of(spec)

    @classmethod
    def from_model(
        cls, model: PathLike = "base", device: str = "auto", options: PredictionOptions | None = None
    ) -> Self:
        """Load a registered model by name, or a weights file by path.

        Args:
            model: name or path of a safetensors file.
            device: "auto", "cpu", "cuda" or "cuda:1".
            options: see `PredictionOptions`.

        Raises:
            UnknownModelError, WeightsError: no such model, a corrupt file, or a model of another task.
            OptionError: no such device.
        """
        place = resolve_device(device)
        network, spec = load_weights(model, device=str(place))
        return cls(spec, network, place, options)

    def canonical_volume(
        self, image: Image, ct_window: tuple[float, float] | None = None
    ) -> tuple[CanonicalGrid, Volume]:
        """Check a scan and bring it to the canonical grid at the model's voxel size.

        Returns:
            The way between the two grids, and the volume (x, y, z) with air near zero.

        Raises:
            ImageError: the scan cannot be used; see `strokelabel.errors`.
        """
        check_volume(image.data, image.affine, image.source)
        canonical = CanonicalGrid.for_image(image.grid.shape, image.affine, self.spec.spacing_mm)
        return canonical, canonical.forward(prepare_intensities(image.data, ct_window))

    def engine(self, options: PredictionOptions, mirrored: Sequence[int] | None = None) -> Engine:
        """Return the engine that runs the network.

        Args:
            options: memory and overlap of windows.
            mirrored: for each class, the one that it becomes when the image is flipped from left to right.
        """
        max_voxels = options.max_voxels or voxels_that_fit(self.device)
        return Engine(
            self.network,
            self.device,
            self.multiple,
            max_voxels,
            options.overlap,
            mirrored=mirrored,
            temperature=self.spec.temperature,
        )

    def _advice(self, spec: ModelSpec) -> str:
        return "choose another model; `strokelabel info` lists them"


def image_notes(image: Image, options: PredictionOptions) -> tuple[str, ...]:
    """Return notes where a scan looks like a CT and is not treated as one, or like a mask."""
    notes = []
    if options.ct_window is None and looks_like_ct(image.data):
        notes.append("the values look like Hounsfield units: use the CT option for a CT")
    if has_two_values(image.data):
        notes.append("there are only two values, as in a mask: check that this is the scan itself")
    return tuple(notes)
