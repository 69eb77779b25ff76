"""Mediocre masks of the synthetic benchmark: the model's own where they are, degraded truth elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.recipe import load_recipe
from strokelabel.geometry import box_around
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_path
from strokelabel.labels import TissueClass
from strokelabel.metrics import dice
from strokelabel.reports.validation import VALIDATION_SHAPE, as_scan
from strokelabel.synthesis.benchmark import ValidationCase, make_case, validation_cases, validation_config
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData

MEDIOCRE = (0.4, 0.7)
"""Lesion Dice of a mask that is worth correcting rather than drawing a new one."""

LEAST_ML = 1.0
"""Smallest lesion: below, a Dice of 0.1 is a handful of voxels."""

_THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


@dataclass(frozen=True, eq=False)
class Volume:
    """One volume of the benchmark, (x, y, z) at 1 mm, and the model's prediction."""

    case: ValidationCase
    image: np.ndarray
    truth: np.ndarray
    brain: np.ndarray
    mask: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True, eq=False)
class MediocreCase:
    """A volume with a mask of mediocre Dice.

    Attributes:
        volume: the volume.
        mask: what the annotator starts from.
        source: "model" (as it answers), "threshold" (the model's map at another threshold), "degraded" (truth).
    """

    volume: Volume
    mask: np.ndarray
    source: str


def mediocre(volume: Volume) -> MediocreCase:
    """Return the model's mask if it is mediocre, else its map at another threshold, else degraded truth."""
    low, high = MEDIOCRE
    if low <= dice(volume.truth, volume.mask) <= high:
        return MediocreCase(volume, volume.mask, "model")
    scores = {t: dice(volume.truth, volume.probability >= t) for t in _THRESHOLDS}
    usable = [t for t, score in scores.items() if low <= score <= high]
    if usable:
        best = min(usable, key=lambda t: abs(scores[t] - (low + high) / 2))
        return MediocreCase(volume, volume.probability >= best, "threshold")
    rng = np.random.default_rng(volume.case.seed)
    return MediocreCase(volume, degrade(volume.truth, volume.brain, rng), "degraded")


def degrade(truth: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask with typical errors of an annotator: the boundary moved by smooth noise, within the brain.

    The amplitude is bisected until the Dice is one drawn uniformly from `MEDIOCRE`. The mask lies too far out in
    some places and too far in in others, misses small pieces, and has islands.

    Args:
        truth: (x, y, z) lesion.
        brain: (x, y, z) where a lesion can be.
        rng: for the Dice, and for the noise, whose wavelength grows with the lesion.
    """
    target = rng.uniform(*MEDIOCRE)
    box = box_around(truth, margin_vox=30)
    lesion, tissue = box.crop(truth), box.crop(brain)
    depth = ndimage.distance_transform_edt(lesion) - ndimage.distance_transform_edt(~lesion)
    radius = (3 * lesion.sum() / (4 * np.pi)) ** (1 / 3)
    noise = ndimage.gaussian_filter(rng.standard_normal(lesion.shape), max(3.0, radius / 2))
    noise = noise / noise.std() + rng.normal() / 2
    low, high = 0.0, 3.0
    for _ in range(20):
        amplitude = (low + high) / 2
        mask = (depth + amplitude * radius * noise > 0) & tissue
        low, high = (amplitude, high) if dice(lesion, mask) > target else (low, amplitude)
    return box.paste(mask)


def nth_volume(maker: VolumeMaker, number: int) -> Volume:
    """Return the volume of that number, from 0, among those of the benchmark whose lesions are large enough."""
    large = -1
    for case in validation_cases(per_family=15):
        large += maker.lesion_ml(case) >= LEAST_ML
        if large == number:
            return maker.volume(case)
    raise IndexError(f"Expected a number below {large + 1}, the volumes with such lesions, got {number}.")


class VolumeMaker:
    """Generator of volumes of the benchmark with their predictions, each once."""

    def __init__(self, prepared: Path, cache: Path, model: str) -> None:
        self._prepared, self._cache, self._model = prepared, cache, model
        self._tools: tuple[Predictor, Synthesizer] | None = None

    def volume(self, case: ValidationCase) -> Volume:
        """Return one volume, from the cache if it is there."""
        path = self._path(case)
        if not path.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            arrays = self._make(case)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
        with np.load(path) as stored:
            return Volume(
                case,
                stored["image"].astype(np.float32),
                stored["truth"],
                stored["brain"],
                stored["mask"],
                stored["probability"].astype(np.float32),
            )

    def lesion_ml(self, case: ValidationCase) -> float:
        """Return the volume of the lesions in ml."""
        path = self._path(case)
        if not path.exists():
            self.volume(case)
        with np.load(path) as stored:
            return float(stored["truth"].sum()) / 1000

    def _path(self, case: ValidationCase) -> Path:
        return self._cache / f"case-{case.index:03d}.npz"

    def _make(self, case: ValidationCase) -> dict[str, np.ndarray]:
        predictor, synthesizer = self._load()
        batch = make_case(synthesizer, case)
        target = batch.target[0].cpu().numpy()
        scan = as_scan(batch, 1.0, f"validation-{case.index:03d}")
        arrays = {
            "image": scan.data.astype(np.float16),
            "truth": target == TissueClass.LESION,
            "brain": target > 0,
            "mask": np.zeros(target.shape, bool),
            "probability": np.zeros(target.shape, np.float16),
        }
        if arrays["truth"].sum() / 1000 >= LEAST_ML:
            prediction = predictor.predict(scan)
            arrays["mask"] = prediction.lesion_mask.astype(bool)
            arrays["probability"] = prediction.lesion_probability.astype(np.float16)
        return arrays

    def _load(self) -> tuple[Predictor, Synthesizer]:
        if self._tools is None:
            predictor = Predictor.from_model(self._model, "cpu", PredictionOptions(keep_probabilities=False))
            config = validation_config(VALIDATION_SHAPE, 1.0)
            data, recipe = PreparedData.load(self._prepared), load_recipe("base")
            self._tools = predictor, make_synthesizer(data, recipe, "validation", config, predictor.device)
        return self._tools
