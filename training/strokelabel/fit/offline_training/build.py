"""Building a pack: the code, prepared data and weights that a machine without a network needs to train."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray

from strokelabel.errors import DataError, OutputError, RecipeError
from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import check_same_network
from strokelabel.io.atomic import atomic_path, atomic_write_json

Arrays = Mapping[str, NDArray[Any]]

IMAGE = "image"
"""Name of the arrays that are compacted where they are uint8 with three axes; masks have other names."""

_DIFFERENCES, _WEBP, _SIZES = "image.differences", "image.webp", "image.sizes"
"""Names of what replaces an image: differences; or the bytes of all its slices as WebP files, and how many each has."""


def compact(arrays: Arrays, webp_quality: int | None = None) -> dict[str, NDArray[Any]]:
    """Replace a stack of grey images or a volume, slice by slice along its first axis.

    Args:
        arrays: by name; all but the image stay.
        webp_quality: of lossy WebP, 1 to 100, for which Pillow is needed; None for differences, which lose nothing.
    """
    image = arrays.get(IMAGE)
    if image is None or image.dtype != np.uint8 or image.ndim != 3:
        return dict(arrays)
    others = {name: values for name, values in arrays.items() if name != IMAGE}
    if webp_quality is None:
        along_rows = np.diff(image, axis=1, prepend=np.uint8(0))
        return {**others, _DIFFERENCES: np.diff(along_rows, axis=2, prepend=np.uint8(0))}
    files = [_to_webp(picture, webp_quality) for picture in image]
    sizes = np.array([len(file) for file in files])
    return {**others, _WEBP: np.frombuffer(b"".join(files), np.uint8), _SIZES: sizes}


def restore(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Undo `compact`; WebP but for what its quality lost."""
    kept = {name: values for name, values in arrays.items() if name not in (_DIFFERENCES, _WEBP, _SIZES)}
    if _DIFFERENCES in arrays:
        rows = np.cumsum(arrays[_DIFFERENCES], axis=2, dtype=np.uint8)
        kept[IMAGE] = np.cumsum(rows, axis=1, dtype=np.uint8)
    elif _WEBP in arrays:
        files = np.split(arrays[_WEBP], np.cumsum(arrays[_SIZES])[:-1])
        kept[IMAGE] = np.stack([_from_webp(file.tobytes()) for file in files])
    return kept


def compact_file(path: Path, webp_quality: int | None = None) -> bytes:
    """Return the content of an .npz file, compacted and not compressed: the archive compresses it."""
    buffer = io.BytesIO()
    np.savez(buffer, **compact(_load(path), webp_quality))
    return buffer.getvalue()


def restore_folder(folder: Path) -> None:
    """Restore every .npz file in a folder and below it; those that are not compacted stay as they are."""
    for path in sorted(folder.rglob("*.npz")):
        arrays = _load(path)
        if _DIFFERENCES in arrays or _WEBP in arrays:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **restore(arrays))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _to_webp(picture: NDArray[np.uint8], quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _from_webp(content: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.uint8)


if __name__ == "__main__":
    restore_folder(Path(sys.argv[1]))


PACKAGES = {
    "annotated-types": "annotated_types",
    "fsspec": "fsspec",
    "jaxtyping": "jaxtyping",
    "lightning-fabric": "lightning_fabric",
    "lightning-utilities": "lightning_utilities",
    "monai": "monai",
    "nibabel": "nibabel",
    "packaging": "packaging",
    "pydantic": "pydantic",
    "pydantic-core": "pydantic_core",
    "pyyaml": "yaml",
    "safetensors": "safetensors",
    "typing-extensions": "typing_extensions",
    "typing-inspection": "typing_inspection",
    "wadler-lindig": "wadler_lindig",
}
"""Distributions that are packed, and what they are imported as. Together 10 MB."""

EXPECTED = {"numpy": "numpy", "scipy": "scipy", "torch": "torch"}
"""Those that the other machine is expected to have; scipy alone has 35 MB."""

_PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)


def download_wheels(names: Sequence[str], folder: Path, python: str = "3.12") -> None:
    """Fetch the wheels of packages in the versions that are installed here, for Linux on x86-64.

    Args:
        names: distributions; nothing that they depend on is fetched with them.
        folder: receives the wheels.
        python: version of the other machine's Python.

    Raises:
        OutputError: one of them is not installed here, or has no such wheel.
    """
    try:
        wanted = [f"{name}=={version(name)}" for name in names]
    except PackageNotFoundError as error:
        raise OutputError(f"{error.name}: expected this package here, to pack the same version") from error
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutputError(f"Expected wheels of {', '.join(wanted)}: {done.stderr.strip()[-500:]}")


ARCHIVE, RUN, DESCRIPTION = "pack.tar.xz", "run.sh", "pack.json"

_CACHES = frozenset({"heads", "quantitative-heads", "real"})
"""Folders of prepared data that are made again where they are missing."""

_SOURCE_SUFFIXES = frozenset({".py", ".tsv", ".sh"})


@dataclass(frozen=True)
class Pack:
    """Contents of a pack.

    Attributes:
        folder: where it lies.
        mb: megabytes by part: "code", "data" and "weights" before compression, "archive" and "wheels" as they are.
    """

    folder: Path
    mb: dict[str, float]

    @property
    def total_mb(self) -> float:
        """Of the files in the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()) / 1e6


def build_pack(
    output: Path,
    prepared: Path,
    recipe: str,
    *,
    weights: str | None = None,
    webp_quality: int | None = None,
    carry: Sequence[str] = (),
    wheels: bool = True,
) -> Pack:
    """Pack a training for another machine.

    Args:
        output: folder to write.
        prepared: folder written by `strokelabel prepare`.
        recipe: name of a shipped recipe, or a file.
        weights: model name or file to start from; None for random weights.
        webp_quality: of real slices and scans; None for no loss. The other machine needs Pillow for WebP.
        carry: further distributions to pack, of those that the machine is expected to have.
        wheels: fetch the wheels; without, the machine must have all packages.

    Raises:
        RecipeError: no such recipe, it needs data of its own, or the weights are of another network.
        DataError: the folder was not prepared.
        OutputError: a wheel is not available, or the folder cannot be written.
    """
    chosen = load_recipe(recipe)
    if chosen.real or chosen.pseudo_labels or chosen.maps or chosen.brains is None:
        raise RecipeError(f"{recipe}: expected a recipe of prepared data alone, it needs folders of its own")
    if not (prepared / "dataset.json").is_file():
        raise DataError(
            f"{prepared}: expected a folder written by `strokelabel prepare`, found no dataset.json"
        )
    files: dict[str, dict[str, bytes]] = {
        "code": dict(_code()),
        "data": dict(_data(prepared, webp_quality)),
        "recipe": {"recipe.yaml": yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False).encode()},
        "weights": {},
    }
    if weights is not None:
        files["weights"] = {"weights.safetensors": check_same_network(chosen, weights).path.read_bytes()}
    shutil.rmtree(output / "wheels", ignore_errors=True)
    names = [*PACKAGES, *carry]
    if wheels:
        download_wheels(names, output / "wheels")
    _write_archive(output / ARCHIVE, {name: data for part in files.values() for name, data in part.items()})
    shutil.copyfile(Path(__file__).with_name(RUN), output / RUN)
    imports = sorted({*PACKAGES.values(), *EXPECTED.values(), *(["PIL"] if webp_quality else [])})
    atomic_write_json(output / DESCRIPTION, {"recipe": chosen.name, "imports": imports})
    mb = {part: sum(map(len, content.values())) / 1e6 for part, content in files.items()}
    mb["archive"] = (output / ARCHIVE).stat().st_size / 1e6
    mb["wheels"] = sum(path.stat().st_size for path in output.glob("wheels/*.whl")) / 1e6
    return Pack(output, mb)


def _code() -> Iterator[tuple[str, bytes]]:
    """Yield the package's source and tables, without weights."""
    package = Path(__file__).resolve().parents[2]
    for path in sorted(package.rglob("*")):
        if path.suffix in _SOURCE_SUFFIXES and path.is_file():
            yield f"training/strokelabel/{path.relative_to(package).as_posix()}", path.read_bytes()


def _data(prepared: Path, webp_quality: int | None) -> Iterator[tuple[str, bytes]]:
    """Yield a prepared folder without its caches: label maps and arrays without their own compression."""
    # Folders may be links, which rglob would not follow.
    found = [
        Path(folder) / name for folder, _, names in os.walk(prepared, followlinks=True) for name in names
    ]
    for path in sorted(found):
        place = path.relative_to(prepared)
        if place.parts[0] in _CACHES or any(part.startswith(".") for part in place.parts):
            continue
        name = f"prepared/{place.as_posix()}"
        if path.name.endswith(".nii.gz"):
            yield name.removesuffix(".gz"), nib.Nifti1Image.from_filename(path).to_bytes()
        else:
            yield name, compact_file(path, webp_quality) if path.suffix == ".npz" else path.read_bytes()


def _write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Write a .tar.xz, the same bytes for the same files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, tarfile.open(temporary, "w:xz", preset=6) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
