"""Prepare real slices and scans once, beside the label maps and lesions of a prepared folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from strokelabel.errors import DataError, ImageError, LabelMapError
from strokelabel.fit.data.real_images.scan_preparation import bring_to_grid
from strokelabel.fit.data.real_images.scans import (
    DESCRIPTION,
    FOLDER,
    RealImages,
    describe,
    save_scan,
    stored_scan,
)
from strokelabel.fit.data.real_images.slices import prepare_slices, slices_sha256
from strokelabel.fit.data.real_images.sources import ScanSource, find_scans, find_slices
from strokelabel.fit.pseudo_labels.lesions import has_tissues
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.images import Image, read_image
from strokelabel.io.lesion_pairs import LesionPair, read_lesion_pair
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY
from strokelabel.synthesis.prepared.sources import fingerprint
from strokelabel.types import Mask

FORMAT_VERSION = 1
"""Version of the stored scans; those of another version are prepared again."""

OnProgress = Callable[[str, int, int], None]
"""Called with the stage ("slices" or "scans"), how many are done, and how many there are."""


@dataclass(frozen=True)
class RealPreparation:
    """Result of `prepare_real_images`.

    Attributes:
        slices: how many slices there are.
        scans: how many scans.
        skipped: path or name → why it was left out.
        warnings: scans whose alignment deserves a look.
        digest: of all sources.
    """

    slices: int
    scans: int
    skipped: dict[str, str]
    warnings: tuple[str, ...]
    digest: str


@dataclass
class _Findings:
    """Notes taken on the way."""

    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def prepare_real_images(
    output: Path,
    *,
    slices: Sequence[Path] = (),
    scans: Sequence[Path] = (),
    model: str = "base",
    fill_hyperintensities: Sequence[str] = (),
    on_progress: OnProgress = lambda stage, done, total: None,
) -> RealPreparation:
    """Write real slices and scans into a prepared folder.

    What an earlier run finished is kept where its source, the model and the options are the same. Of a kind for which
    no folder is named, everything stays as it is.

    Args:
        output: the prepared folder; receives `real-images/`.
        slices: folders (or files) of slices, .npz; see `slices.prepare_slices`.
        scans: folders (or files) of NIfTI scans without a stroke, or with an expert's lesion mask beside them.
        model: name or path of the model that says where the brain is.
        fill_hyperintensities: patterns of file names; white matter lesions of these scans are no strokes, and filled.
        on_progress: called after every file.

    Raises:
        DataError: nothing to train on found, a file of slices that is none, or a lesion mask that belongs to no scan.
        WeightsError, UnknownModelError: no such model, or one without tissues.
        OutputError: the folder cannot be written.
    """
    folder, noted = output / FOLDER, _Findings()
    before = describe(folder)
    if before is None and not (slices or scans):
        return RealPreparation(0, 0, {}, (), "")
    slice_names, scan_names = (before["slices"], before["scans"]) if before else ([], [])
    if slices:
        slice_names = _prepare_slices(slices, folder / "slices", noted, on_progress)
    if scans:
        maker = _ScanMaker(model, tuple(fill_hyperintensities), folder / "scans", noted)
        scan_names = maker.make_all(scans, on_progress)
    sources = [[name, slices_sha256(folder / "slices" / f"{name}.npz")] for name in slice_names]
    sources += [[name, (stored_scan(folder / "scans" / f"{name}.npz") or ("",))[0]] for name in scan_names]
    digest = hashlib.sha256(json.dumps(sources).encode()).hexdigest()
    content = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "slices": slice_names,
        "scans": scan_names,
        "left_out": noted.skipped,
    }
    atomic_write_json(folder / DESCRIPTION, content)
    count = sum(len(part) for part in RealImages.load(output).slices)
    return RealPreparation(count, len(scan_names), noted.skipped, tuple(noted.warnings), digest)


def _prepare_slices(
    folders: Sequence[Path], target: Path, noted: _Findings, on_progress: OnProgress
) -> list[str]:
    found = find_slices(folders)
    noted.skipped.update(found.skipped)
    for done, path in enumerate(found.slices):
        on_progress("slices", done, len(found.slices))
        prepare_slices(path, target / path.name)
    on_progress("slices", len(found.slices), len(found.slices))
    return [path.stem for path in found.slices]


class _ScanMaker:
    """Prepares scans; the model is loaded when the first one needs it."""

    def __init__(self, model: str, fill: tuple[str, ...], target: Path, noted: _Findings) -> None:
        self._fill, self._target, self._noted = fill, target, noted
        self._predictor = Predictor.from_model(model, "cpu")
        if not has_tissues(self._predictor.spec.class_names):
            raise DataError(
                f"{model}: expected a model of tissues and lesion, which says where the brain is, found "
                f"{self._predictor.spec.class_names}"
            )
        self._model_sha256 = fingerprint(self._predictor.spec.path)

    def make_all(self, folders: Sequence[Path], on_progress: OnProgress) -> list[str]:
        """Prepare all scans of some folders; return the names of those that could be used."""
        found = find_scans(folders)
        self._noted.skipped.update(found.skipped)
        self._check_patterns([scan.image.name for scan in found.scans])
        names = []
        for done, source in enumerate(found.scans):
            on_progress("scans", done, len(found.scans))
            try:
                self._make(source)
                names.append(source.name)
            except (ImageError, LabelMapError) as error:
                self._noted.skipped[str(source.image)] = str(error)
        on_progress("scans", len(found.scans), len(found.scans))
        if not names:
            raise DataError(
                f"expected at least one usable scan, all {len(found.scans)} were refused; "
                f"the first: {self._noted.skipped[str(found.scans[0].image)]}"
            )
        return names

    def _make(self, source: ScanSource) -> None:
        path = self._target / f"{source.name}.npz"
        filled = any(fnmatch(source.image.name, pattern) for pattern in self._fill)
        mask = fingerprint(source.mask) if source.mask else ""
        sha256 = fingerprint(source.image, mask, self._model_sha256, str(filled), str(FORMAT_VERSION))
        known = stored_scan(path)
        similarity = known[1] if known is not None and known[0] == sha256 else None
        if similarity is None:
            image, lesion = _read(source)
            made = bring_to_grid(image, lesion, self._predictor, fill_hyperintensities=filled)
            save_scan(path, sha256, made.image, made.brain, made.lesion, made.to_icbm, made.similarity)
            similarity = made.similarity
        if similarity < MINIMUM_SIMILARITY:
            self._noted.warnings.append(
                f"{source.image}: its correlation with the ICBM template is {similarity:.2f} after alignment, expected "
                f"at least {MINIMUM_SIMILARITY}; the bounding box of the brain says where lesions are painted"
            )

    def _check_patterns(self, names: list[str]) -> None:
        for pattern in self._fill:
            if not any(fnmatch(name, pattern) for name in names):
                raise DataError(
                    f"expected the pattern {pattern!r} for hyperintensities to match a scan, it matches none of {names}"
                )


def _read(source: ScanSource) -> tuple[Image, Mask | None]:
    """Read a scan and its mask."""
    if source.mask is None:
        return read_image(source.image), None
    return read_lesion_pair(LesionPair(source.name, source.name, source.image, source.mask))
