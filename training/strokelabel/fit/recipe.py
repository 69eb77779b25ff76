"""Training recipes: one YAML file per published model, checked before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from strokelabel.errors import RecipeError
from strokelabel.fit.config import (
    EstimationConfig,
    MapsConfig,
    PredictionsConfig,
    StructureRow,
    TrainingConfig,
)
from strokelabel.fit.data.annotated_scans.config import PseudoLabelConfig, RealConfig
from strokelabel.fit.data.generation.replay import ReplayConfig
from strokelabel.fit.data.real_images.config import PaintedScanConfig, SlabConfig
from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.fit.recipe_files import find_recipe, read_content
from strokelabel.labels import CLASS_NAMES
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.networks.unet import UNetConfig
from strokelabel.networks.weights import NETWORK_OF_TASK, NetworkConfig
from strokelabel.structures import (
    QUALITY_GROUPS,
    TISSUE_CLASSES,
    Structure,
    parcellation_structures,
    structures_from_rows,
)
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.config_sections import Section
from strokelabel.synthesis.label_noise.errors import LabelNoiseConfig
from strokelabel.synthesis.label_noise.segmentation_errors import SegmentationErrorConfig

LESION_ONLY_NAMES = ("background", "lesion")
"""Classes of a network that is trained on nothing but lesion masks."""


_SECTIONS_OF_TASK = {
    "estimation": ("estimation",),
    "denoising": ("label_noise", "predictions"),
    "quality": ("segmentation_errors",),
    "pretraining": ("pretraining",),
}
"""Sections of which a recipe has one for its task, and none for any other."""


_CLASSES_OF_TASK: dict[str, tuple[str, ...]] = {
    "estimation": ESTIMATED_MAPS,
    "quality": tuple(QUALITY_GROUPS),
    "pretraining": ("reconstruction",),
}
"""Output channels of the tasks for which nothing else decides them."""


class BrainSplit(Section):
    """Prepared label maps of each part: names or patterns such as "brain-0*"."""

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = Field(min_length=1)


class ValidationConfig(Section):
    """Settings of the validation during training."""

    per_family: int = Field(4, ge=1)
    """Synthetic volumes per contrast family."""


class Recipe(Section):
    """Recipe of a model: everything but the data."""

    name: str
    description: str = ""
    seed: int = 0
    task: Literal["segmentation", "estimation", "denoising", "quality", "pretraining"] = "segmentation"
    """Classes of voxels, quantitative maps, correct label maps for wrong ones, Dice of parcellations, or an encoder."""
    target: Literal["tissues", "parcellation"] = "tissues"
    """Classes: tissues and lesion, or the structures of a parcellation (SynthSeg)."""
    structure_table: Literal["synthseg", "data"] | tuple[StructureRow, ...] = "synthseg"
    """Structures of a parcellation: SynthSeg's, or those of the data, which `train.with_data` puts here."""
    lesion_target: Literal["class", "underlying"] = "class"
    """Label of lesions: a class of their own, or the structure beneath them (SynthSeg)."""
    brains: BrainSplit | None = None
    """Label maps of synthetic images; None where all images are real."""
    real: RealConfig | None = None
    """Annotated scans; None where all images are synthetic."""
    pseudo_labels: PseudoLabelConfig | None = None
    """Lesions of an unlabelled cohort, drawn by a model, beside those of the prepared data."""
    maps: MapsConfig | None = None
    """Quantitative volumes that training images are simulated from; None for values drawn for each label."""
    replay: ReplayConfig | None = None
    """Uses of each synthetic image; None for once."""
    slabs: SlabConfig | None = None
    """Real slices in every optimiser step, beside the volumes; None for none."""
    scans: PaintedScanConfig | None = None
    """Real scans with lesions painted in, among the volumes; None for none."""
    physics_fraction: float = Field(0.0, ge=0, lt=1)
    """Of the synthetic images that are made by the physics model; see `physics_synthesis`."""
    network: NetworkConfig = UNetConfig()
    """Of the task: `UNetConfig`, `EstimatorConfig` and so on, each in its module of `networks`."""
    synthesis: SynthesisConfig = SynthesisConfig()
    validation: ValidationConfig = ValidationConfig()
    estimation: EstimationConfig | None = None
    """Loss and simulated scans of an estimator; None for the other tasks."""
    label_noise: LabelNoiseConfig | None = None
    predictions: PredictionsConfig | None = None
    """Input of a denoiser, one of both: label maps with errors, or groups of a parcellation."""
    segmentation_errors: SegmentationErrorConfig | None = None
    """Errors of the parcellations whose quality a network learns to judge; None for the other tasks."""
    pretraining: PretrainingConfig | None = None
    """Pairs of views that an encoder represents alike; None for the other tasks."""
    training: TrainingConfig

    @field_validator("network", mode="before")
    @classmethod
    def _network_of_task(cls, value: Any, info: ValidationInfo) -> NetworkConfig:  # noqa: ANN401
        """Read the network's settings as those of the task's network."""
        kind = NETWORK_OF_TASK.get(info.data.get("task", ""), UNetConfig)
        return kind.model_validate(value)

    @model_validator(mode="after")
    def _task_is_whole(self) -> Self:
        """Refuse half a description of a task."""
        for task, sections in _SECTIONS_OF_TASK.items():
            is_task, kind = self.task == task, NETWORK_OF_TASK[task]
            given = sum(getattr(self, section) is not None for section in sections)
            if isinstance(self.network, kind) != is_task or given != is_task:
                named = "` or `".join(sections)
                raise ValueError(
                    f"expected the sections `network` and `{named}` with `task: {task}`, and no section "
                    f"`{named}` with any other task; got the task {self.task!r}"
                )
        quantitative = self.task in {"estimation", "pretraining"} or self.maps is not None
        if quantitative and self.synthesis.contrast.model != "physics":
            raise ValueError("synthesis.contrast.model: expected physics for quantitative maps")
        if self.task == "pretraining" and self.training.batch_size < 2:
            raise ValueError("training.batch_size: expected at least 2 subjects to compare")
        if self.maps is not None and (self.task, self.target) != ("segmentation", "tissues"):
            raise ValueError("maps: expected them for the segmentation of tissues and lesions alone")
        return self

    @model_validator(mode="after")
    def _network_fits_images(self) -> Self:
        """Refuse images that the network cannot take, or whose classes it cannot distinguish."""
        shape, multiple = self.synthesis.shape, self.network.multiple
        if any(side < multiple or side % multiple for side in shape) or max(shape) == multiple:
            raise ValueError(
                f"expected a synthesis.shape of multiples of {multiple} (the product of network.strides), "
                f"not all of them {multiple}, got {shape}"
            )
        channels, classes = (self.network.in_channels, self.network.out_channels), len(self.class_names)
        more = {"denoising": classes + (self.predictions is not None), "quality": 2 + classes}
        expected = (more.get(self.task, 1), classes)
        if channels != expected and self.structure_table != "data":
            ins = "1 input channel" if expected[0] == 1 else f"{expected[0]} input channels"
            raise ValueError(f"expected a network with {ins} and {classes} output channels, got {channels}")
        return self

    @model_validator(mode="after")
    def _data_fit_together(self) -> Self:
        """Refuse a recipe without images, or with some that it has no use for."""
        if self.is_synthetic and self.brains is None:
            raise ValueError("brains: Field required, except where real.fraction is 1")
        if self.real is not None and self.task != "segmentation":
            raise ValueError(f"real: expected no annotated scans for the task {self.task!r}")
        if self.pseudo_labels is not None and not self.is_synthetic:
            raise ValueError(
                "pseudo_labels: expected synthetic images for these lesions, but real.fraction is 1"
            )
        return self

    @model_validator(mode="after")
    def _target_is_possible(self) -> Self:
        """Refuse targets that the data cannot give."""
        of_groups = self.task == "quality" or self.predictions is not None
        if of_groups and (self.target, self.structure_table) != ("parcellation", "synthseg"):
            raise ValueError(
                f"target: expected parcellation, of SynthSeg's structures, for the task {self.task!r}"
            )
        if self.target == "parcellation":
            if self.task != "segmentation" and not of_groups:
                raise ValueError(f"target: expected tissues for the task {self.task!r}, got parcellation")
            if self.real is not None and self.lesion_target == "underlying":
                raise ValueError("lesion_target: expected class where scans with lesion masks are trained on")
            if self.structure_table != "synthseg" and self.lesion_target == "class":
                raise ValueError(
                    "lesion_target: expected underlying with another structure_table than synthseg"
                )
            if self.structure_table != "synthseg" and self.synthesis.skull_strip.method == "labels":
                raise ValueError(
                    "synthesis.skull_strip.method: expected mask, labels are removed by SynthSeg's numbers"
                )
        elif self.structure_table != "synthseg":
            raise ValueError("structure_table: expected synthseg, the target is not parcellation")
        elif self.lesion_target == "underlying" or self.synthesis.skull_strip.method == "labels":
            raise ValueError(
                "target: expected parcellation with `lesion_target: underlying` or `skull_strip.method: labels`, "
                "got tissues"
            )
        return self

    @model_validator(mode="after")
    def _replay_is_possible(self) -> Self:
        """Refuse to replay what there is not, or what has sides, mirrored."""
        if self.replay is not None:
            synthetic = self.task == "segmentation" and self.is_synthetic
            self.replay.check_use(synthetic=synthetic, sided=self.target == "parcellation")
        return self

    @model_validator(mode="after")
    def _mixture_is_possible(self) -> Self:
        """Refuse real images and physics where there is nothing to mix them with."""
        plain = (self.task, self.target) == ("segmentation", "tissues")
        for name, wanted in (
            ("slabs", self.slabs is not None),
            ("scans", self.scans is not None),
            ("physics_fraction", self.physics_fraction > 0),
        ):
            if wanted and not (plain and self.is_synthetic):
                raise ValueError(
                    f"{name}: expected it for the segmentation of tissues and lesions, with synthetic images, alone"
                )
        if self.physics_fraction and (self.synthesis.contrast.model == "physics" or self.maps is not None):
            raise ValueError("physics_fraction: expected 0 where all images are made by physics already")
        return self

    @model_validator(mode="after")
    def _slabs_fit(self) -> Self:
        """Refuse slabs that the network cannot take, or that would not be in every optimiser step."""
        if self.slabs is None:
            return self
        multiple, accumulate = self.network.multiple, self.training.accumulate
        if self.slabs.thickness_voxels % multiple:
            raise ValueError(
                f"slabs.thickness_voxels: expected a multiple of {multiple} (the product of network.strides), got "
                f"{self.slabs.thickness_voxels}"
            )
        if accumulate % 2:
            raise ValueError(
                "training.accumulate: expected a multiple of 2 with slabs, one batch of volumes and one of slabs, got "
                f"{accumulate}"
            )
        return self

    @property
    def physics_synthesis(self) -> SynthesisConfig:
        """Settings of the images that are made by physics: the recipe's, with half of its bias and gamma.

        The physics has receive and transmit fields of its own, and gamma would undo it.
        """
        artefacts = self.synthesis.artefacts
        low, high = artefacts.bias_strength
        milder = {
            "bias_strength": (low / 2, high / 2),
            "gamma_log_deviation": artefacts.gamma_log_deviation / 2,
        }
        return self.synthesis.model_copy(
            update={
                "contrast": self.synthesis.contrast.model_copy(update={"model": "physics"}),
                "artefacts": artefacts.model_copy(update=milder),
            }
        )

    @property
    def structures(self) -> tuple[Structure, ...]:
        """Classes of a parcellation; none for another target, or while they are to be those of the data."""
        if isinstance(self.structure_table, tuple):
            rows = [row.model_dump() for row in self.structure_table]
            return structures_from_rows(rows, f"{self.name}: structure_table")
        if self.target == "parcellation" and self.structure_table == "synthseg":
            return parcellation_structures(lesion=self.lesion_target == "class")
        return ()

    @property
    def is_synthetic(self) -> bool:
        """True if any of the training images are synthetic."""
        return self.real is None or self.real.fraction < 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the output channels: maps, structures, tissues and lesion, or the lesion alone (the paper's baseline)."""
        if (names := _CLASSES_OF_TASK.get(self.task)) is not None:
            return names
        if self.predictions is not None:
            return TISSUE_CLASSES
        if self.target == "parcellation":
            return tuple(structure.name for structure in self.structures)
        if not self.is_synthetic and self.network.out_channels == len(LESION_ONLY_NAMES):
            return LESION_ONLY_NAMES
        return CLASS_NAMES

    @property
    def lesion_class(self) -> int | None:
        """Index of the lesion among the classes; None where it is no class."""
        return self.class_names.index("lesion") if "lesion" in self.class_names else None


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by name (one that ships with StrokeLabel) or by path.

    A recipe with the key `extends` (the name of a recipe, or a file beside it) holds only what differs from that one:
    sections are merged key by key, anything else takes the place of what was there.

    Raises:
        RecipeError: no such recipe, not YAML, or a value out of range; says which.
    """
    path = find_recipe(name_or_path)
    content = read_content(path)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()
        )
        raise RecipeError(f"{path}: {problems}") from error


def with_folders(recipe: Recipe, real: Path | None = None, pseudo_labels: Path | None = None) -> Recipe:
    """Return a recipe with the given folders of real data in place of its own.

    Args:
        recipe: which has the sections for them.
        real: of annotated scans.
        pseudo_labels: written by `strokelabel pseudo-label`.

    Raises:
        RecipeError: a folder is named that the recipe has no use for, or one is needed and named nowhere.
    """
    sections = {}
    for name, option, folder in (
        ("real", "--real", real),
        ("pseudo_labels", "--pseudo-labels", pseudo_labels),
    ):
        section = getattr(recipe, name)
        if section is None and folder is not None:
            raise RecipeError(
                f"{recipe.name}: expected no {option}, this recipe has no section `{name}`; leave the option out, or "
                "choose a recipe that has one"
            )
        if section is None:
            continue
        if folder is None and section.folder is None:
            raise RecipeError(
                f"{recipe.name}: expected a folder for its section `{name}`; name it with {option} FOLDER"
            )
        chosen = folder or section.folder
        sections[name] = section.model_copy(update={"folder": chosen.expanduser().resolve()})
    return recipe.model_copy(update=sections)


def with_generators(recipe: Recipe, generators: int | None, gpu_generators: int | None) -> Recipe:
    """Return a recipe with other numbers of processes that make images; None keeps the recipe's own number."""
    asked = {"generators": generators, "gpu_generators": gpu_generators}
    update = {name: count for name, count in asked.items() if count is not None}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=update)})
