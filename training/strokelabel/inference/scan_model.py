"""Base of the predictors: a network with its description, and the way of a scan to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from strokelabel.errors import OptionError, WeightsError
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.device import device_name
from strokelabel.inference.engine import Engine, EngineNetwork
from strokelabel.inference.interruption import Check, add_checks, interruptible
from strokelabel.inference.network_input import looks_like_ct, prepare_intensities
from strokelabel.inference.options import PredictionOptions
from strokelabel.io import Image, check_volume
from strokelabel.io.checks import has_two_values
from strokelabel.networks.onnx_graph import has_onnx_form
from strokelabel.networks.unet_config import unet_config
from strokelabel.registry import PARCELLATION, SEGMENTATION, ModelSpec, find_model
from strokelabel.types import PathLike, Volume

if TYPE_CHECKING:
    import torch
    from torch import nn

EngineName = Literal["auto", "onnx", "torch"]
"""ONNX Runtime or torch; "auto" is ONNX Runtime for a model that has an ONNX form, on a CPU."""


class ScanModel:
    """A model that is shown scans of any orientation and spacing.

    Attributes:
        task: of the models that this class takes; see `strokelabel.registry`.
        purpose: what such a model does, for messages.
        multiple: divisor of the sides of the boxes that the network takes.

    Args:
        spec: the model's description; its spacing and field of view decide what the network is shown.
        network: maps (1, 1, x, y, z) to (1, channels, x, y, z); a module of torch on `device`, in evaluation mode, or
            the model on ONNX Runtime.
        device: where to compute, as torch or its name.
        options: used where a call is not given others.

    Raises:
        WeightsError: the model is of another task.
    """

    task: ClassVar[str]
    purpose: ClassVar[str]

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module | EngineNetwork,
        device: torch.device | str = "cpu",
        options: PredictionOptions | None = None,
    ) -> None:
        if spec.task != self.task:
            raise WeightsError(
                f"{spec.path}: expected a model that {self.purpose}, this one is for {spec.task}; {self._advice(spec)}"
            )
        self.spec = spec
        self._network: nn.Module | EngineNetwork = network
        self._device = device
        self.options = options or PredictionOptions()
        self.multiple = _multiple_of(spec)

    @classmethod
    def from_model(
        cls,
        model: PathLike = "base",
        device: str = "auto",
        options: PredictionOptions | None = None,
        engine: EngineName = "auto",
    ) -> Self:
        """Load a registered model by name, or a weights file by path.

        Args:
            model: name or path of a safetensors file.
            device: "auto", "cpu", "cuda" or "cuda:1".
            options: see `PredictionOptions`.
            engine: see `EngineName`.

        Raises:
            UnknownModelError, WeightsError: no such model, a corrupt file, or a model of another task.
            OptionError: no such device, or an engine that cannot run the model there.
        """
        return cls.from_spec(find_model(model), device, options, engine)

    @classmethod
    def from_spec(
        cls,
        spec: ModelSpec,
        device: str = "auto",
        options: PredictionOptions | None = None,
        engine: EngineName = "auto",
    ) -> Self:
        """Load a model by its description; see `from_model`."""
        place = device_name(device)
        suits_onnx = place == "cpu" and has_onnx_form(spec)
        if engine == "onnx" and not suits_onnx:
            raise OptionError(
                f"expected a model with an ONNX form on the CPU for the engine onnx, got {spec.name} on {place}; "
                "use the engine torch"
            )
        if suits_onnx and engine != "torch":
            from strokelabel.inference.onnx_network import OnnxNetwork

            return cls(spec, OnnxNetwork(spec), place, options)
        from strokelabel.networks.weights import load_weights

        return cls(spec, load_weights(spec, device=place)[0], place, options)

    @property
    def is_on_torch(self) -> bool:
        """True if torch runs the network; else it is ONNX Runtime."""
        return not isinstance(self._network, EngineNetwork)

    @property
    def network(self) -> nn.Module:
        """Network as a module of torch. A model on ONNX Runtime is loaded again, and runs on torch from then on."""
        if isinstance(self._network, EngineNetwork):
            from strokelabel.networks.weights import load_weights

            self._network, _ = load_weights(self.spec, device=str(self._device))
        return self._network

    @network.setter
    def network(self, network: nn.Module) -> None:
        self._network = network

    @property
    def device(self) -> torch.device:
        """Device on which torch computes."""
        import torch

        return torch.device(self._device)

    def on_torch(self) -> Self:
        """Return the model on torch: this one, or another of the same description if this one is not."""
        if self.is_on_torch:
            return self
        other = self.with_options(self.options)
        add_checks(other.network)  # a computation that may be interrupted stays so
        return other

    def with_options(self, options: PredictionOptions) -> Self:
        """Return the same model, sharing its network, with other options."""
        return type(self)(self.spec, self._network, self._device, options)

    @contextmanager
    def interruptible(self, check: Check) -> Iterator[None]:
        """Within the block, let predictions of this thread end with whatever `check` raises."""
        with interruptible(self.network if self.is_on_torch else None, check):
            yield

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
        return Engine(
            self._engine_network(),
            self.multiple,
            options.max_voxels,
            options.overlap,
            mirrored=mirrored,
            temperature=self.spec.temperature,
        )

    def _engine_network(self) -> EngineNetwork:
        if isinstance(self._network, EngineNetwork):
            return self._network
        from strokelabel.inference.torch_network import TorchNetwork

        return TorchNetwork(self._network, self.device)

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


def _multiple_of(spec: ModelSpec) -> int:
    """Return `networks.weights.multiple_of`, without torch for the networks that have their parameters without it."""
    if spec.task in {SEGMENTATION, PARCELLATION}:
        return unet_config(spec).multiple
    from strokelabel.networks.weights import multiple_of

    return multiple_of(spec)
