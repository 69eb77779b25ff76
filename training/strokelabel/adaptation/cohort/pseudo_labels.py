"""Pseudo-labels of a scan: the model's own answer, where it can be relied on.

The class prototypes among the last features of the decoder, by which voxels are left out, are those of Chen et al.
2021, section 2.3.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from strokelabel.adaptation.options import UNCERTAINTY, CohortOptions
from strokelabel.adaptation.safety import OutputSummary, summarise
from strokelabel.errors import OptionError, WeightsError
from strokelabel.geometry.crop import foreground_mask
from strokelabel.inference.engine import Engine
from strokelabel.inference.network_input import ShownScan
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.uncertainty import DROPOUT_PASSES, Passes, dropout_layers, passes_of
from strokelabel.inference.torch_network import TensorEngine, TorchNetwork
from strokelabel.io import Image
from strokelabel.io.atomic import atomic_path
from strokelabel.networks.weights import load_weights


class DecoderFeatures(nn.Module):
    """A network whose output is what its last layer is given, at full resolution.

    Args:
        network: of `networks.unet.build_network`.

    Raises:
        WeightsError: a network of another kind.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._last = _last_layer(network)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (batch, channels, x, y, z) of images (batch, 1, x, y, z); trilinear where coarser."""
        given: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            self._network(images)
        finally:
            hook.remove()
        features = given[0].float()
        if features.shape[2:] == images.shape[2:]:
            return features
        return F.interpolate(features, size=images.shape[2:], mode="trilinear")


def _last_layer(network: nn.Module) -> nn.Module:
    """Return the layer that makes logits of the decoder's features."""
    for name, layer in network.named_modules():
        if name.split(".")[-1] == "output_block":  # DynUNet
            return layer
    levels = getattr(network, "model", None)  # MONAI's UNet: down, all that is below, up
    if isinstance(levels, nn.Sequential) and len(levels) == 3:
        return levels[2]
    raise WeightsError("expected a U-Net, whose decoder has a last layer; adapt with pl or upl")


def class_prototypes(features: Tensor, probabilities: Tensor, labels: Tensor, confident: Tensor) -> Tensor:
    """Return the mean feature of each class, weighted by its probability.

    Args:
        features: (channels, x, y, z).
        probabilities: (classes, x, y, z).
        labels: (x, y, z) most likely class.
        confident: (x, y, z) bool; only these voxels count.

    Returns:
        (classes, channels); infinite for a class without confident voxels, so that nothing is near it.
    """
    prototypes = torch.full((len(probabilities), len(features)), torch.inf)
    for index, probability in enumerate(probabilities):
        chosen = confident & (labels == index)
        if bool(chosen.any()):
            weights = probability[chosen]
            prototypes[index] = features[:, chosen] @ weights / weights.sum()
    return prototypes


def nearest_class(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the class whose prototype is nearest in the Euclidean distance.

    Args:
        features: (channels, x, y, z).
        prototypes: (classes, channels), at least one of them finite; see `class_prototypes`.

    Returns:
        (x, y, z) int64.
    """
    nearest = torch.zeros(features.shape[1:], dtype=torch.int64)
    smallest = torch.full(features.shape[1:], torch.inf)
    for index, prototype in enumerate(prototypes):
        if not bool(prototype.isfinite().all()):
            continue
        distance = (features - prototype[:, None, None, None]).square().sum(dim=0)
        nearest[distance < smallest] = index
        smallest = torch.minimum(smallest, distance)
    return nearest


IGNORED = 255
"""Class of the voxels that are not trained on."""

OnPart = Callable[[float], None]
"""Called with the fraction of a scan that is done; may raise."""


@dataclass(frozen=True)
class KeptVoxels:
    """Numbers of voxels in the box that the network is shown, of all classes and of the lesion.

    Attributes:
        voxels: of the box.
        confident, certain, agreeing: kept by one condition after the other; None where it does not apply.
        lesion: of the pseudo-label, before any condition.
        lesion_kept: of the lesion, after all conditions.
    """

    voxels: int
    confident: int
    certain: int | None
    agreeing: int | None
    lesion: int
    lesion_kept: int

    @property
    def kept(self) -> int:
        """Voxels that are trained on."""
        last = self.agreeing if self.agreeing is not None else self.certain
        return self.confident if last is None else last


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan as it is trained on.

    Attributes:
        item: (1, x, y, z) float32, normalised input of the network.
        target: (x, y, z) uint8, class of each voxel, or `IGNORED`.
        head: (x, y, z) bool.
        kept: see `KeptVoxels`.
        plain: summary of the model's output.
    """

    item: Tensor
    target: Tensor
    head: Tensor
    kept: KeptVoxels
    plain: OutputSummary

    def write(self, path: Path) -> None:
        """Write it to a safetensors file, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        about = json.dumps({"kept": asdict(self.kept), "plain": asdict(self.plain)})
        tensors = {"item": self.item, "target": self.target, "head": self.head.to(torch.uint8)}
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(tensors, metadata={"about": about}))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what `write` wrote; None where there is no such file, or it is damaged."""
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                item, target, head = (file.get_tensor(name) for name in ("item", "target", "head"))
            return cls(
                item, target, head.bool(), KeptVoxels(**about["kept"]), OutputSummary(**about["plain"])
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None


class PseudoLabeler:
    """Source of the pseudo-labels of scans.

    Args:
        predictor: the model.
        options: see `CohortOptions`.
        prediction: field of view, and window of a CT.

    Raises:
        OptionError: the method needs dropout, and the network has none.
    """

    def __init__(
        self, predictor: Predictor, options: CohortOptions, prediction: PredictionOptions | None = None
    ) -> None:
        predictor = predictor.on_torch()
        self._predictor, self._options = predictor, options
        self._prediction = prediction or predictor.options
        self._dropping = _with_dropout(predictor, options) if options.method != "pl" else None
        self._features = DecoderFeatures(predictor.network) if options.method == "dpl" else None

    def label(self, image: Image, report: OnPart) -> LabelledScan:
        """Return a scan with its pseudo-labels.

        Raises:
            ImageError: the scan cannot be segmented; see `strokelabel.errors`.
        """
        report(0.0)
        spec = self._predictor.spec
        scan = self._predictor.show(image, self._prediction)
        item = torch.from_numpy(scan.item())
        probabilities = TensorEngine(scan.engine).probabilities(item)
        report(0.1)
        top, labels = probabilities.max(dim=0)
        confident = top > self._options.threshold(len(probabilities))
        masks = [confident]
        if self._dropping is not None:
            masks.append(confident & (self._deviation(scan, labels, report) < UNCERTAINTY))
        if self._features is not None:
            masks.append(masks[-1] & (self._nearest(scan, probabilities, labels, masks[-1]) == labels))
        head = torch.from_numpy(np.ascontiguousarray(foreground_mask(scan.volume)))
        target = torch.where(masks[-1], labels, IGNORED).to(torch.uint8)
        counts = [int(mask.sum()) for mask in masks] + [None, None]
        lesion = self._predictor.lesion
        kept = KeptVoxels(
            labels.numel(),
            int(masks[0].sum()),
            counts[1],
            counts[2],
            int((labels == lesion).sum()),
            int((target == lesion).sum()),
        )
        report(1.0)
        return LabelledScan(item[0], target, head, kept, summarise(probabilities, head, spec))

    def _deviation(self, scan: ShownScan, labels: Tensor, report: OnPart) -> Tensor:
        """Return the standard deviation of the pseudo-label's probability over passes with dropout, (x, y, z)."""
        assert self._dropping is not None
        engine = self._dropping.engine(self._prediction)
        shown = ShownScan(scan.canonical, scan.box, scan.volume, engine, scan.spec)
        outputs, _, count = passes_of(self._dropping, shown, Passes("dropout", DROPOUT_PASSES))
        found = []
        for done, logits in enumerate(outputs, start=1):
            found.append(torch.softmax(torch.from_numpy(logits), dim=0).gather(0, labels[None])[0])
            report(0.1 + 0.8 * done / count)
        return torch.stack(found).std(dim=0, correction=0)

    def _nearest(self, scan: ShownScan, probabilities: Tensor, labels: Tensor, reliable: Tensor) -> Tensor:
        """Return the class whose prototype in this scan is nearest, (x, y, z)."""
        assert self._features is not None
        device = self._predictor.device
        network, most = TorchNetwork(self._features, device), self._prediction.max_voxels
        engine = Engine(network, self._predictor.multiple, most, self._prediction.overlap)
        features = torch.from_numpy(engine.output(scan.item())[0])
        return nearest_class(features, class_prototypes(features, probabilities, labels, reliable))


def _with_dropout(predictor: Predictor, options: CohortOptions) -> Predictor:
    """Return the model with dropout at the rate given; its weights are the same at any rate.

    Raises:
        OptionError: no rate is given, and the network has none.
    """
    if options.dropout is not None:
        spec = predictor.spec
        network, _ = load_weights(spec, str(predictor.device), dropout=options.dropout)
        predictor = Predictor(spec, network, predictor.device, predictor.options)
    try:
        dropout_layers(predictor.network)
    except OptionError as error:
        raise OptionError(
            f"Expected a network that was trained with dropout for the method {options.method!r}, this one has none; "
            "name a rate (--dropout 0.2), knowing that the network was not trained with it, or use the method 'pl'."
        ) from error
    return predictor
