"""Settings of the SynthStroke generator: every range that a recipe may change.

"Paper" is Chalcroft et al. 2025 (SynthStroke), section 3.1. Ranges are (low, high) of a uniform distribution.

Defaults are the paper's for rotation, zoom, flips, elastic fraction, means, deviations, texture, nodes and
strength of the bias, motion, resolution, nodes of the noise, and the flaws of skull-stripping. They read the paper
where it cannot be meant as it stands: shear on both sides, gamma with the natural logarithm, noise as a deviation
rather than a signal-to-noise ratio. All others are ours, since the paper has no number: translation, air, lesions,
slices, the g-factor's strength.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from strokelabel.physics.presets import PRESETS, PresetName
from strokelabel.synthesis.config_sections import (
    CoilConfig,
    CoverageConfig,
    PocketConfig,
    Range,
    Section,
    StructureConfig,
    SurroundingsConfig,
    some_weight,
)


def _known_protocols(weights: dict[str, float]) -> dict[str, float]:
    """Refuse protocols that no preset has, and frequencies below zero."""
    known = sorted({name for protocols in PRESETS.values() for name in protocols})
    wrong = [name for name, weight in weights.items() if name not in known or not weight >= 0]
    if wrong:
        raise ValueError(f"expected frequencies of at least 0 for some of {known}, got {wrong}")
    return weights


ContrastFamily = Literal["random", "t1", "t2", "flair", "dwi", "adc", "ct"]
LesionStage = Literal["acute", "subacute", "gliosis", "cavity", "haemorrhage"]


class DeformationConfig(Section):
    """Affine and diffeomorphic deformation of the head."""

    rotation_degrees: Range = (-15.0, 15.0)
    shear: Range = (-0.012, 0.012)
    zoom: Range = (0.85, 1.15)
    translation_mm: Range = (-10.0, 10.0)
    """Largest distance of the brain's centre from the centre of the field of view (paper: random crops)."""
    elastic_fraction: Range = (0.0, 0.05)
    """Greatest velocity, and nearly the greatest displacement, along an axis as a fraction of the field of view."""
    elastic_nodes: tuple[int, int] = (2, 10)
    """Nodes per axis (paper: 0 to 10)."""
    flip_probability: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Per canonical axis: left-right, back-front, bottom-top."""


class PhysicsConfig(Section):
    """Quantitative tissue values and acquisitions of the physics model (qSynth, Chalcroft et al. 2025)."""

    presets: Annotated[dict[PresetName, float], AfterValidator(some_weight)] = Field(
        default={"paper": 0.5, "clinical": 0.5}
    )
    """Relative frequencies of the sets of protocols in `strokelabel.physics.presets`."""
    protocols: Annotated[dict[str, float], AfterValidator(_known_protocols)] = Field(default={})
    """Relative frequencies of protocols within their preset, as in {"t2-fse": 2, "mp2rage": 0}; 1 where not given."""
    stages: Annotated[dict[LesionStage, float], AfterValidator(some_weight)] = Field(
        default={"acute": 0.25, "subacute": 0.25, "gliosis": 0.2, "cavity": 0.2, "haemorrhage": 0.1}
    )
    """Relative frequencies of what lesions are made of."""
    priors: str | None = None
    """Path of a table of tissue priors that replaces shipped numbers; see `strokelabel.physics.priors`."""
    between_subjects: float = Field(1.0, ge=0, le=5)
    """Factor on the priors' spread between subjects."""
    within_tissue: Range = (0.5, 1.5)
    """Factor on the priors' spread within a tissue, one for each tissue."""
    receive_nodes: tuple[int, int] = (2, 4)
    receive_strength: Range = (0.0, 0.4)
    """Receive field (B1-) from 1 - strength to 1 + strength."""
    transmit_nodes: tuple[int, int] = (2, 3)
    transmit_strength: Range = (0.0, 0.25)
    transmit_mean: Range = (0.9, 1.1)
    """Transmit field (B1+): its mean, times 1 - strength to 1 + strength."""

    @model_validator(mode="after")
    def _something_to_draw(self) -> PhysicsConfig:
        for preset in self._presets_without_protocol():
            raise ValueError(f"protocols: expected one of preset {preset} with a frequency above 0")
        return self

    @property
    def has_protocols(self) -> bool:
        """True if each preset with a frequency above 0 has a protocol to draw."""
        return not self._presets_without_protocol()

    def _presets_without_protocol(self) -> list[str]:
        return [
            preset
            for preset, weight in self.presets.items()
            if weight > 0 and not any(self.protocols.get(name, 1) > 0 for name in PRESETS[preset])
        ]


class ContrastConfig(Section):
    """Contrast model: a Gaussian mixture, or quantitative values and a sequence."""

    model: Literal["mixture", "physics"] = "mixture"
    """"physics" draws quantitative values and simulates a sequence; of the rest, only the texture then counts."""
    physics: PhysicsConfig = PhysicsConfig()
    families: Annotated[dict[ContrastFamily, float], AfterValidator(some_weight)] = Field(
        default={"random": 1.0}
    )
    """Relative frequencies. "random" is the paper's; the others are clinical contrasts with wide margins."""
    mean: Range = (0.0, 1.0)
    """Paper: U(0, 255)."""
    deviation: Range = (0.0, 16 / 255)
    """Paper: U(0, 16) on 0 to 255."""
    texture_fwhm_voxels: Range = (0.0, 2.0)
    shared_mean_probability: float = Field(0.5, ge=0, le=1)
    """Probability that all labels of a tissue group share one mean, as they nearly do in a real scan."""
    background_zero_probability: float = Field(0.7, ge=0, le=1)
    background_mean: Range = (0.0, 0.1)
    """Mean of the air when it is not zero."""
    background_deviation: Range | None = None
    """Standard deviation of such air; None for that of any label."""
    background_random_probability: float = Field(0.0, ge=0, le=1)
    """Probability that air that is not zero looks like any label instead (SynthSeg's code)."""
    sides_share_contrast: bool = True
    """True if a structure looks the same on both sides (SynthSeg's code: false)."""
    joined_labels: tuple[tuple[int, ...], ...] = ()
    """Ids of labels that always look the same, group by group, such as ((4, 5), (17, 18)); so do their mirrors."""
    structures: StructureConfig = StructureConfig()
    surroundings: SurroundingsConfig = SurroundingsConfig()
    pockets: PocketConfig = PocketConfig()


Stage = Literal["acute", "subacute", "chronic", "haemorrhagic"]
Extent = Literal["territory", "hemisphere", "brain"]


class SpatialPriorConfig(Section):
    """Small lesions moved to where lesions of the bank lie, rather than left where their own patient had them."""

    probability: float = Field(0.0, ge=0, le=1)
    """Probability that a mask of at most `maximum_volume_ml` is moved."""
    maximum_volume_ml: float = Field(5.0, gt=0)
    smoothing_mm: float = Field(10.0, ge=0)
    """FWHM of the kernel that makes a density of the masks."""


class EmbolicConfig(Section):
    """Showers of small lesions: masks of the bank and random blobs, at positions drawn from the spatial prior."""

    probability: float = Field(0.0, ge=0, le=1)
    """Share of the heads with lesions that have a shower."""
    keep_probability: float = Field(0.3, ge=0, le=1)
    """Probability that the head keeps its other lesions beside the shower."""
    count: tuple[int, int] = (3, 20)
    volume_ml: Range = (0.05, 2.0)
    """Volume of each; its logarithm is uniform."""
    blob_probability: float = Field(0.5, ge=0, le=1)
    """Random blobs rather than masks of the bank."""
    extent_weights: Annotated[dict[Extent, float], AfterValidator(some_weight)] = Field(
        default={"territory": 0.5, "hemisphere": 0.3, "brain": 0.2}
    )
    """Weights of the extent of the shower: inside one large mask of the bank, in one hemisphere, anywhere."""


class StageConfig(Section):
    """Lesions that look like their age."""

    probability: float = Field(0.0, ge=0, le=1)
    """Share of heads whose lesions have a stage; the others keep the paper's one mean per lesion."""
    weights: Annotated[dict[Stage, float], AfterValidator(some_weight)] = Field(
        default={"acute": 0.4, "subacute": 0.2, "chronic": 0.3, "haemorrhagic": 0.1}
    )
    cavity_csf_probability: float = Field(0.8, ge=0, le=1)
    """Probability that a cavity has the mean of the ventricles in random contrast (in clinical contrasts always)."""
    cavity_sigma_mm: Range = (0.8, 2.5)
    """Depth over which rim turns into cavity."""
    haemorrhage_fraction: Range = (0.1, 0.6)
    """Share of the lesion's inside that is bled into."""
    oedema_probability: float = Field(0.7, ge=0, le=1)
    """Probability of oedema around an acute, subacute or haemorrhagic lesion, which is not labelled lesion."""
    oedema_sigma_mm: Range = (3.0, 9.0)


class MassEffectConfig(Section):
    """Swelling: the anatomy around large fresh lesions is pushed away from them."""

    probability: float = Field(0.0, ge=0, le=1)
    """Probability that an acute, subacute or haemorrhagic lesion of at least `minimum_volume_ml` swells."""
    minimum_volume_ml: float = Field(15.0, ge=0)
    displacement_mm: Range = (1.0, 6.0)
    """Greatest displacement of the anatomy."""


class DistractorConfig(Section):
    """Findings that look like lesions but are not; drawn for heads with and without lesions."""

    hyperintensity_probability: float = Field(0.0, ge=0, le=1)
    """Periventricular caps and halo, and spots in the deep white matter."""
    hyperintensity_sigma_mm: Range = (2.0, 6.0)
    """Scale of the halo."""
    spot_probability: float = Field(0.6, ge=0, le=1)
    """Probability that a head with hyperintensities has spots too."""
    basal_ganglia_probability: float = Field(0.0, ge=0, le=1)
    """Pallidum, putamen and caudate of another intensity than the rest of the gray matter, unlike left and right."""
    susceptibility_probability: float = Field(0.0, ge=0, le=1)
    """Bright or lost signal at temporal poles and frontal base (families "dwi" and "random")."""
    cortex_probability: float = Field(0.0, ge=0, le=1)
    """Patches of brighter cortex (all families but "t1" and "ct")."""
    cortex_darker_probability: float = Field(0.0, ge=0, le=1)
    """Share of these patches that are darker instead. Above 0, "t1" has patches too, twice as many of them darker."""
    white_matter_probability: float = Field(0.0, ge=0, le=1)
    """Wide patches of white matter that are brighter or darker than the rest of it, in every contrast."""


class LesionConfig(Section):
    """Lesions: how many, where, and how they are blended into the tissue.

    The sections at the end make lesions more real than the paper's; each is off unless a recipe switches it on.
    """

    count_weights: Annotated[dict[int, float], AfterValidator(some_weight)] = Field(
        default={0: 0.1, 1: 0.6, 2: 0.2, 3: 0.1}
    )
    """Relative frequency of 0, 1, 2, ... lesion masks in one head."""
    minimum_volume_ml: float = Field(0.0, ge=0)
    """Masks smaller than this are left out of training."""
    mirror_probability: float = Field(0.5, ge=0, le=1)
    """Probability that a mask is moved to the other hemisphere."""
    shift_mm: Range = (-6.0, 6.0)
    zoom: Range = (0.9, 1.1)
    erosion_voxels: tuple[int, int] = (0, 2)
    dilation_voxels: tuple[int, int] = (0, 2)
    blur_sigma_voxels: Range = (0.5, 1.5)
    penumbra_floor: Range = (0.1, 1.0)
    """Lower bound a of the field from a to 1 that thins a lesion out; 1 means no penumbra."""
    penumbra_nodes: tuple[int, int] = (3, 7)
    """Nodes of that field along each axis of the lesion's own bounding box."""
    penumbra_probability: float = Field(0.5, ge=0, le=1)
    """Probability that a lesion has a penumbra; each lesion of a head by itself."""
    minimum_contrast: float = Field(0.0, ge=0, lt=0.5)
    """Least difference between the means of lesion, gray and white matter, where the family allows (paper: none)."""
    minimum_contrast_of: dict[ContrastFamily, Annotated[float, Field(ge=0, lt=0.5)]] = Field(default={})
    """Least difference for single families, where the general one would hide visible lesions, as in {"adc": 0.05}."""
    volume_balance: float = Field(0.0, ge=0, le=1)
    """0 draws masks as often as they occur; 1 draws all sizes (bins of log-volume) equally often."""
    spatial_prior: SpatialPriorConfig = SpatialPriorConfig()
    embolic: EmbolicConfig = EmbolicConfig()
    stages: StageConfig = StageConfig()
    mass_effect: MassEffectConfig = MassEffectConfig()
    distractors: DistractorConfig = DistractorConfig()

    def contrast_of(self, family: str) -> float:
        """Return the least difference between the means of lesion, gray and white matter in a contrast family."""
        return next(
            (v for name, v in self.minimum_contrast_of.items() if name == family), self.minimum_contrast
        )


class ArtefactConfig(Section):
    """Artefacts of the scanner and the processing."""

    bias_nodes: tuple[int, int] = (2, 7)
    """Nodes per axis."""
    bias_strength: Range = (0.0, 0.5)
    """Greatest difference from one of the field that multiplies the image."""
    bias_exponential: bool = False
    """True if the field is the logarithm of the bias (SynthSeg), not the bias minus one; `bias_strength` may then
    exceed one.
    """
    gamma_log_deviation: float = Field(0.6, ge=0)
    """Standard deviation of the natural logarithm of gamma."""
    motion_fwhm_mm: Range = (0.0, 3.0)
    resolution_mm: Range = (1.0, 8.0)
    """Slice spacing, or isotropic resolution, of the simulated acquisition."""
    thick_slice_probability: float = Field(0.5, ge=0, le=1)
    """Thick slices in one direction rather than low resolution in all three."""
    isotropic_limit_mm: float = Field(4.0, gt=0)
    """No isotropic resolution worse than this (SynthSeg's code: 4 mm)."""
    slice_thickness_fraction: Range = (0.5, 1.0)
    """Slice thickness over slice spacing; the rest is gap."""
    full_resolution_probability: float = Field(0.2, ge=0, le=1)
    noise_deviation: Range = (0.0, 0.1)
    noise_nodes: tuple[int, int] = (2, 5)
    noise_strength: Range = (0.0, 0.5)
    """Greatest relative deviation of the local noise level from its mean (g-factor)."""
    coil: CoilConfig = CoilConfig()
    coverage: CoverageConfig = CoverageConfig()


class SkullStripConfig(Section):
    """Removal of everything but the brain, with the flaws that tools leave."""

    probability: float = Field(0.3, ge=0, le=1)
    method: Literal["mask", "labels"] = "mask"
    """A mask over the image, as tools do it, or no labels but the brain's to make the image from (SynthSeg)."""
    keep_csf_probability: float = Field(0.5, ge=0, le=1)
    """Without labels: how often the fluid around the brain stays (SynthSeg's imperfect stripping)."""
    dilation_probability: float = Field(0.3, ge=0, le=1)
    dilation_mm: Range = (0.0, 2.0)
    erosion_probability: float = Field(0.3, ge=0, le=1)
    erosion_mm: Range = (0.0, 4.0)


class SynthesisConfig(Section):
    """Settings of the whole generator."""

    shape: tuple[int, int, int] = (192, 192, 192)
    """Voxels of an image."""
    spacing_mm: float = Field(1.0, gt=0)
    deformation: DeformationConfig = DeformationConfig()
    contrast: ContrastConfig = ContrastConfig()
    lesion: LesionConfig = LesionConfig()
    artefacts: ArtefactConfig = ArtefactConfig()
    skull_strip: SkullStripConfig = SkullStripConfig()

    @property
    def field_of_view_mm(self) -> tuple[float, float, float]:
        """Extent of an image along x, y and z in mm."""
        x, y, z = (n * self.spacing_mm for n in self.shape)
        return x, y, z

    def at_spacing(self, spacing_mm: float) -> SynthesisConfig:
        """Return the same field of view at another voxel size."""
        x, y, z = (max(1, round(side / spacing_mm)) for side in self.field_of_view_mm)
        return self.model_copy(update={"shape": (x, y, z), "spacing_mm": spacing_mm})
