"""Registry of the models: their descriptions, and the paths of their weights. Needs no torch.

A model is one safetensors file. Its description travels in the file's own metadata, so that weights can be
copied about and are never parted from their class names, voxel size and licence.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from strokelabel.errors import UnknownModelError, WeightsError
from strokelabel.hashing import sha256_of_file
from strokelabel.types import PathLike

METADATA_KEY = "strokelabel"
"""Key of a safetensors file's metadata that holds the description, as JSON."""

METADATA_FORMAT = 1
"""Version of the description; a reader refuses others."""

SEGMENTATION = "segmentation"
"""Task of a model that has a class for each output channel."""

PARCELLATION = "parcellation"
"""Task of a model that has an anatomical structure for each output channel."""

ESTIMATION = "estimation"
"""Task of a model that has a quantitative map for each output channel."""

DENOISING = "denoising"
"""Task of a model that corrects label maps: a class for each input and each output channel."""

QUALITY = "quality"
"""Task of a model that predicts the Dice of a parcellation: a group of structures for each output."""

PRETRAINING = "pretraining"
"""Task of a network whose encoder other trainings start from; its only output channel is a reconstruction."""

_WITHOUT_CLASSES = frozenset({ESTIMATION, QUALITY, PRETRAINING})

_LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors format."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSpec:
    """Description of a set of weights, and of the preparation of images for it.

    Attributes:
        name: what users call it; for registered models the name of its folder.
        version: of the weights.
        description: one sentence.
        path: the safetensors file.
        network: arguments of `networks.unet.UNetConfig`, or of another task's network (`networks.weights`).
        class_names: of the output channels, in order; the lesion is "lesion".
        spacing_mm: isotropic voxel size that the network was trained on, mm.
        field_of_view_mm: extent of the training images along x, y, z (right, anterior, superior), mm.
        normalization: keyword arguments of `networks.normalization.normalize`.
        recipe: the training recipe, for the record.
        training_step: optimiser steps behind the weights.
        license: of the weights, as an SPDX identifier.
        task: "segmentation"; "parcellation" for a network that names structures; "estimation" for one that gives
            quantitative maps; "denoising" for one that corrects label maps; "quality" for one that predicts the Dice
            of a parcellation; "pretraining" for an encoder that trainings start from.
        class_ids: of a parcellation, FreeSurfer's number of each output channel; else empty.
        temperature: by which the logits are divided before anything is made of them (Guo et al. 2017, "On calibration
            of modern neural networks"), so that probabilities are frequencies; fitted after training, 1 for none.
    """

    name: str
    version: str
    description: str
    path: Path
    network: dict[str, Any]
    class_names: tuple[str, ...]
    spacing_mm: float
    field_of_view_mm: tuple[float, float, float]
    normalization: dict[str, Any]
    recipe: dict[str, Any]
    training_step: int
    license: str
    task: str = SEGMENTATION
    class_ids: tuple[int, ...] = ()
    temperature: float = 1.0

    @cached_property
    def sha256(self) -> str:
        """Check sum of the weights file, computed at first use.

        Raises:
            WeightsError: the file cannot be read.
        """
        try:
            return sha256_of_file(self.path)
        except OSError as error:
            raise WeightsError(f"{self.path}: expected a weights file ({error.strerror})") from error

    def to_metadata(self) -> dict[str, str]:
        """Return the description as metadata of a safetensors file; everything but the path."""
        content = {key: value for key, value in asdict(self).items() if key != "path"}
        if self.temperature == 1:  # earlier releases read such a file too
            del content["temperature"]
        return {METADATA_KEY: json.dumps({"format": METADATA_FORMAT, **content})}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path) -> Self:
        """Return the description from the metadata of `to_metadata`.

        Args:
            metadata: of a safetensors file.
            path: that file.

        Raises:
            WeightsError: it is not there, of another format, or incomplete.
        """
        if METADATA_KEY not in metadata:
            raise WeightsError(
                f"{path}: expected weights that StrokeLabel exported; this file does not describe its model"
            )
        try:
            content = json.loads(metadata[METADATA_KEY])
            version = content.pop("format")
            if version == METADATA_FORMAT:
                return cls(**_checked(content), path=path)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(f"{path}: the description of its model is damaged ({error})") from error
        raise WeightsError(
            f"{path}: expected a description of format {METADATA_FORMAT}, found {version}; "
            "use the release of StrokeLabel that wrote it"
        )


def list_models() -> list[ModelSpec]:
    """Return all registered models, by name; a damaged file is reported as a warning and left out.

    Models lie in the package's `weights/NAME/model.safetensors` and in `$STROKELABEL_HOME/weights`, where a
    model takes the place of a packaged one of the same name.
    """
    specs = []
    for name, path in sorted(_registered().items()):
        try:
            specs.append(replace(read_spec(path), name=name))
        except WeightsError as error:
            _LOG.warning("%s", error)
    return specs


def find_model(name_or_path: PathLike = "base") -> ModelSpec:
    """Return one model.

    Args:
        name_or_path: the name of a registered model, or the path of a safetensors file (anything with a folder
            or the suffix ".safetensors" in it).

    Raises:
        UnknownModelError: no such name; says which exist.
        WeightsError: no such file, or a damaged one.
    """
    if _is_path(name_or_path):
        return read_spec(Path(name_or_path))
    registered = _registered()
    if name_or_path not in registered:
        known = ", ".join(sorted(registered)) or "none"
        raise UnknownModelError(
            f"Expected the name of a model ({known}) or the path of a .safetensors file, got {name_or_path!r}; "
            "models are looked for in the package and in $STROKELABEL_HOME/weights/NAME/model.safetensors"
        )
    return replace(read_spec(registered[str(name_or_path)]), name=str(name_or_path))


STRUCTURES_MODEL = "synthseg"
"""Registered model that finds the structures that lesions touch, where it is installed."""

QUALITY_MODEL = "synthseg-quality"
"""Registered model that predicts the Dice of parcellations; also the name of its recipe."""


ROBUST_MODEL = "synthseg-robust"
"""Registered model that corrects the tissue groups of parcellations; also the name of its recipe."""


def find_structures_model(name: str | None = None) -> ModelSpec | None:
    """Return the model that finds the structures that lesions touch; None for none.

    Args:
        name: of a registered model, or a path; "none" for none; None for `STRUCTURES_MODEL` where it is installed.

    Raises:
        UnknownModelError, WeightsError: as `find_model`, or a model of another task.
    """
    if name == "none" or (name is None and STRUCTURES_MODEL not in _registered()):
        return None
    spec = find_model(STRUCTURES_MODEL if name is None else name)
    if spec.task != PARCELLATION:
        raise WeightsError(
            f"{spec.path}: expected a model that parcellates, to find structures, this one is for {spec.task}"
        )
    return spec


def list_outcome_models() -> dict[str, Path]:
    """Return the files of all registered outcome models, by name, see `find_outcome_model`."""
    return dict(sorted(_registered("outcome.safetensors").items()))


def find_outcome_model(name_or_path: PathLike) -> Path:
    """Return the file of an outcome model.

    They lie in the package's `weights/NAME/outcome.safetensors` and in `$STROKELABEL_HOME/weights`.

    Args:
        name_or_path: a name, or the path of a file, see `find_model`.

    Raises:
        UnknownModelError: no such name; says which exist.
    """
    if _is_path(name_or_path):
        return Path(name_or_path)
    registered = list_outcome_models()
    if name_or_path not in registered:
        known = ", ".join(registered) or "none"
        raise UnknownModelError(
            f"Expected the name of an outcome model ({known}) or the path of a .safetensors file, got "
            f"{name_or_path!r}; `strokelabel outcome fit` writes such files"
        )
    return registered[str(name_or_path)]


def read_spec(path: Path) -> ModelSpec:
    """Read the description in a weights file from its header, and check that the file is complete.

    Raises:
        WeightsError: no such file, no safetensors, truncated, or without a description of ours.
    """
    header = read_header(path)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise WeightsError(f"{path}: expected metadata of text, the file is damaged")
    return ModelSpec.from_metadata(metadata, path)


def read_header(path: Path) -> dict[str, Any]:
    """Read the JSON header of a safetensors file: a description of each tensor, and "__metadata__".

    Raises:
        WeightsError: no such file, not the format, or truncated.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise WeightsError(f"{path}: expected a safetensors file, this is not one or it is truncated")
            header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except OSError as error:
        raise WeightsError(f"{path}: expected a weights file ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WeightsError(f"{path}: expected a safetensors file, its header is damaged ({error})") from error
    if 8 + length + max(ends, default=0) != size:
        raise WeightsError(
            f"{path}: expected {8 + length + max(ends, default=0)} bytes, found {size}; "
            "copy or download the file again"
        )
    return header


def _is_path(name_or_path: PathLike) -> bool:
    """Return whether a model is given by its file and not by its name."""
    path = Path(name_or_path)
    return isinstance(name_or_path, Path) or path.suffix == ".safetensors" or len(path.parts) > 1


def _registered(file: str = "model.safetensors") -> dict[str, Path]:
    """Return the weights files by model name; the user's before the package's."""
    folders = [Path(__file__).parent / "weights"]
    if home := os.environ.get("STROKELABEL_HOME"):
        folders.append(Path(home) / "weights")
    return {path.parent.name: path for folder in folders for path in folder.glob(f"*/{file}")}


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `ModelSpec` but the path, each checked for its type.

    Raises:
        TypeError, ValueError, KeyError: something is missing or of the wrong type.
    """
    names = {field.name for field in fields(ModelSpec)} - {"path"}
    # Files that were written before there were other tasks, or without a temperature.
    content = {"task": SEGMENTATION, "class_ids": [], "temperature": 1.0, **content}
    if content.keys() != names:
        raise ValueError(f"differs in {', '.join(sorted(content.keys() ^ names))}")
    texts = {key: content[key] for key in ("name", "version", "description", "license", "task")}
    tables = {key: content[key] for key in ("network", "normalization", "recipe")}
    classes = content["class_names"]
    if not all(isinstance(text, str) for text in [*texts.values(), *classes]):
        raise TypeError("name, version, description, license, task and class names must be text")
    if not all(isinstance(table, dict) for table in tables.values()):
        raise TypeError("network, normalization and recipe must be tables")
    view = tuple(float(side) for side in content["field_of_view_mm"])
    spacing = float(content["spacing_mm"])
    if len(view) != 3 or not 0 < min(*view, spacing) <= max(*view, spacing) < float("inf"):
        raise ValueError(f"spacing {spacing} and field of view {view} must be positive, in mm")
    temperature = float(content["temperature"])
    if not 0 < temperature < float("inf") or (temperature != 1 and content["task"] in _WITHOUT_CLASSES):
        raise ValueError(f"temperature {temperature} must be positive, and 1 for a model without classes")
    return {
        **texts,
        **tables,
        "temperature": temperature,
        "class_names": tuple(classes),
        "class_ids": _class_ids(content, len(classes)),
        "spacing_mm": spacing,
        "field_of_view_mm": view,
        "training_step": int(content["training_step"]),
    }


def _class_ids(content: dict[str, Any], classes: int) -> tuple[int, ...]:
    """Return the numbers of a parcellation's classes; none for other tasks.

    Raises:
        TypeError, ValueError: no number, or not one for each class.
    """
    ids = tuple(content["class_ids"])
    if not all(type(number) is int for number in ids):
        raise TypeError("class ids must be whole numbers")
    expected = classes if content["task"] == PARCELLATION else 0
    if not len(set(ids)) == len(ids) == expected:
        raise ValueError(f"expected a class id for each class of a parcellation, and else none, got {ids}")
    return ids
