"""Synthetic benchmark: unseen heads and lesions, six contrasts, thin and thick slices, fixed by seeds.

Sixty volumes with lesions and twenty heads without, the same ones for every model. Lesions of all sizes are equally
likely, most look like their age, and the label is what is visible. Healthy heads vary as real ones do:
hyperintensities that are no strokes, structures with means of their own, faces and necks with pockets of air and fat.
Whatever would change one of the parameters needs a new `BENCHMARK_VERSION`, so that numbers of one version always mean
the same. Nothing that only serves training (flips, extreme gamma, absurd deformations) is applied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from strokelabel.synthesis.config import ContrastFamily, SynthesisConfig
from strokelabel.synthesis.generator import SampleParameters, Synthesizer, SyntheticBatch

VALIDATION_FAMILIES: tuple[ContrastFamily, ...] = ("t1", "t2", "flair", "dwi", "adc", "random")

BENCHMARK_VERSION = "2"
"""Numbers are comparable within one version, on the same prepared data (`PreparedData.digest`)."""
THICK_SLICE_MM = 5.0
_SEED = 23_000
"""First seed of the volumes with lesions; training seeds are hashed and never this small. Of those that were tried, it
gives the most even numbers of lesions of every size to every contrast."""
_LESION_FREE_SEED = 30_000
"""First seed of the heads without lesions."""
_DEVELOPMENT = 20_000
"""Added to the seeds of volumes that thresholds are chosen by, so that the benchmark is not what it is tuned to."""


@dataclass(frozen=True)
class ValidationCase:
    """One volume of the validation set."""

    index: int
    family: ContrastFamily
    slice_mm: float | None
    """Spacing of axial slices, or None for 1 mm isotropic."""
    seed: int
    lesion_free: bool = False
    """No lesion in it: whatever is found is false."""


def validation_cases(per_family: int, development: bool = False) -> list[ValidationCase]:
    """Return the cases, family by family in turn; every second one of a family has thick slices.

    Args:
        per_family: volumes per contrast family.
        development: other volumes of the same kind, to choose thresholds by.
    """
    first = _SEED + _DEVELOPMENT * development
    return [
        ValidationCase(
            index=i * len(VALIDATION_FAMILIES) + f,
            family=family,
            slice_mm=THICK_SLICE_MM if i % 2 else None,
            seed=first + i * len(VALIDATION_FAMILIES) + f,
        )
        for i in range(per_family)
        for f, family in enumerate(VALIDATION_FAMILIES)
    ]


def lesion_free_cases(count: int, development: bool = False) -> list[ValidationCase]:
    """Return the heads without lesions, contrast by contrast in turn; every second one of a contrast has thick slices.

    Args:
        count: how many.
        development: as for `validation_cases`.
    """
    first = _LESION_FREE_SEED + _DEVELOPMENT * development
    families = len(VALIDATION_FAMILIES)
    return [
        ValidationCase(
            index=i,
            family=VALIDATION_FAMILIES[i % families],
            slice_mm=THICK_SLICE_MM if i // families % 2 else None,
            seed=first + i,
            lesion_free=True,
        )
        for i in range(count)
    ]


def validation_config(shape: tuple[int, int, int], spacing_mm: float) -> SynthesisConfig:
    """Return the generator settings of the benchmark: mild variation, staged lesions, most heads whole."""
    return SynthesisConfig.model_validate(
        {
            "shape": shape,
            "spacing_mm": spacing_mm,
            "deformation": {
                "rotation_degrees": (-10, 10),
                "zoom": (0.95, 1.05),
                "translation_mm": (-4, 4),
                "elastic_fraction": (0, 0.02),
                "flip_probability": (0, 0, 0),
            },
            "contrast": {
                "background_zero_probability": 0.5,
                "structures": {"probability": 0.5},
                "surroundings": {"probability": 0.5, "any_probability": 0.2},
                "pockets": {"probability": 0.5},
            },
            "lesion": _lesions(),
            "artefacts": {
                "bias_strength": (0, 0.4),
                "gamma_log_deviation": 0.0,
                "motion_fwhm_mm": (0, 1),
                "full_resolution_probability": 1.0,
                "noise_deviation": (0.005, 0.05),
                "coil": {"probability": 0.2, "strength": (0.3, 1.0), "inverted_probability": 0.0},
            },
            "skull_strip": {"probability": 0.3, "erosion_probability": 0.0},
        }
    )


def _lesions() -> dict[str, Any]:
    """Return the lesions of the benchmark, and its distractors."""
    return {
        "count_weights": {1: 0.8, 2: 0.2},
        "minimum_volume_ml": 0.4,
        "erosion_voxels": (0, 1),
        "dilation_voxels": (0, 1),
        "volume_balance": 1.0,
        "minimum_contrast": 0.1,
        "minimum_contrast_of": {"adc": 0.05},
        "penumbra_floor": (0.5, 1.0),
        "embolic": {"probability": 0.1, "count": (2, 6), "volume_ml": (0.3, 3.0)},
        "stages": {"probability": 0.7},
        "distractors": {
            "hyperintensity_probability": 0.5,
            "basal_ganglia_probability": 0.2,
            "susceptibility_probability": 0.3,
            "cortex_probability": 0.2,
            "white_matter_probability": 0.2,
        },
    }


def make_case(synthesizer: Synthesizer, case: ValidationCase, keep_visible: bool = False) -> SyntheticBatch:
    """Compute one volume of the set.

    Args:
        synthesizer: with `validation_config`, unseen heads and unseen lesions.
        case: which volume.
        keep_visible: keep what of the lesions can be seen, too.

    Returns:
        A batch of one.
    """
    return synthesizer.apply([case_parameters(synthesizer, case)], keep_visible=keep_visible)


def case_parameters(synthesizer: Synthesizer, case: ValidationCase) -> SampleParameters:
    """Return the parameters of one volume: drawn from its seed, then given the case's contrast and slices."""
    contrast = synthesizer.config.contrast.model_copy(update={"families": {case.family: 1.0}})
    lesion = synthesizer.config.lesion
    if case.lesion_free:
        lesion = lesion.model_copy(update={"count_weights": {0: 1.0}})
    config = synthesizer.config.model_copy(update={"contrast": contrast, "lesion": lesion})
    own = Synthesizer(synthesizer.heads, synthesizer.lesions, synthesizer.table, config, synthesizer.device)
    parameters = own.sample(case.seed)
    # Every family, with thin and thick slices, goes through the heads in turn.
    turn = case.index // len(VALIDATION_FAMILIES) + case.index % len(VALIDATION_FAMILIES)
    parameters = replace(parameters, head=turn % len(synthesizer.heads))
    if case.slice_mm is None:
        return parameters
    slices = (0.0, 0.0, case.slice_mm)
    artefacts = replace(parameters.artefacts, resolution_mm=slices, thickness_mm=slices)
    return replace(parameters, artefacts=artefacts)
