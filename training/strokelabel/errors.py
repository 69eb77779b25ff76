"""Error family: each message has what was expected, what was found, and what to do."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Self


class StrokeLabelError(Exception):
    """Error of StrokeLabel with a message that can be shown to users.

    Attributes:
        message: what was expected, what came, and what to do.
        source: file, folder or scan that the message is about, with which the text begins; "" for none. A server,
            whose paths mean nothing to a client, puts another name in its place with `with_source`.
    """

    def __init__(self, message: str = "", *, source: str | Path = "") -> None:
        super().__init__(message)
        self.message = message
        self.source = str(source)

    def __str__(self) -> str:
        return f"{self.source}: {self.message}" if self.source else self.message

    def with_source(self, source: str | Path) -> Self:
        """Return the same error about a source of another name."""
        # Not copy.copy: dask.distributed changes how exceptions are copied, so that both would be one.
        named = type(self).__new__(type(self), *self.args)
        named.__dict__.update(self.__dict__)
        named.__cause__, named.__traceback__ = self.__cause__, self.__traceback__
        named.source = str(source)
        return named


class ImageError(StrokeLabelError):
    """An image that cannot be segmented."""


class UnreadableImageError(ImageError):
    """Missing, truncated or corrupt file, or one of an unknown format."""


class DimensionError(ImageError):
    """Image that is not one three-dimensional scalar volume (2-D, 4-D, RGB, complex)."""


class EmptyImageError(ImageError):
    """Image without voxels, or with zero in every voxel."""


class ConstantImageError(ImageError):
    """Every voxel has the same value, so there is nothing to see."""


class NonFiniteImageError(ImageError):
    """Image with NaN or infinite voxels."""


class HeaderError(ImageError):
    """Affine that is singular or not finite, or has impossible voxel sizes."""


class GeometryError(ImageError):
    """Images that must have the same voxels, such as a scan and its mask, lie on different grids."""


class OutputError(StrokeLabelError):
    """A result cannot be written: no permission, no space, or a type that the format cannot hold."""


class MissingPackageError(StrokeLabelError):
    """A Python package that is not part of the plain installation, and the extra that brings it."""

    @classmethod
    def of(cls, error: ModuleNotFoundError, purpose: str) -> Self:
        """Return the refusal of something for want of a package.

        Args:
            error: of its import.
            purpose: what needs it, such as "the command 'train'".
        """
        return cls.named((error.name or "").partition(".")[0], purpose)

    @classmethod
    def check(cls, package: str, purpose: str) -> None:
        """Refuse to begin what would fail later for want of a package; args as `named`.

        Raises:
            MissingPackageError: the package is not installed.
        """
        if find_spec(package) is None:
            raise cls.named(package, purpose)

    @classmethod
    def named(cls, package: str, purpose: str) -> Self:
        """Return the refusal of something for want of a package.

        Args:
            package: as it is imported.
            purpose: what needs it.
        """
        extra = _EXTRAS.get(package, "all")
        return cls(
            f"{purpose} needs the Python package {package!r}, which is not installed; "
            f'install it with pip install "strokelabel[{extra}]"'
        )


_EXTRAS = {
    **dict.fromkeys(
        ("torch", "monai", "lightning_fabric", "lightning", "tensorboard", "pandas", "matplotlib", "nilearn",
         "sklearn", "SimpleITK", "onnx"),
        "train",
    ),
    "highdicom": "dicom",
    **dict.fromkeys(
        ("monailabel", "dicomweb_client", "mlflow", "pynetdicom", "psutil", "requests", "fastapi", "starlette",
         "uvicorn", "httpx"),
        "server",
    ),
    **dict.fromkeys(("slicer", "trame", "trame_slicer", "trame_server", "vtk"), "browser"),
}  # fmt: skip
"""Extra of pyproject.toml that brings a package."""


class OptionError(StrokeLabelError):
    """An option has an impossible value, or asks for a device that is not there."""


class LabelMapError(StrokeLabelError):
    """A label map or lesion mask holds values that the label table does not know, or nothing at all."""


class RegistrationError(StrokeLabelError):
    """A scan cannot be brought to ICBM space, or not in a way that can be trusted."""


class RecipeError(StrokeLabelError):
    """A training recipe is missing, malformed, or asks for something impossible."""


class DataError(StrokeLabelError):
    """Training data is missing or does not fit together."""


class WeightsError(StrokeLabelError):
    """A weights file is missing, corrupt, or does not fit the network that its metadata describes."""


class UnknownModelError(StrokeLabelError):
    """Name of a model that is not registered."""


class CheckpointError(StrokeLabelError):
    """A training checkpoint cannot be resumed."""


class TrainingError(StrokeLabelError):
    """Training cannot start or go on as configured."""
