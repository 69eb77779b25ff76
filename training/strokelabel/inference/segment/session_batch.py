"""Segmentation of many sessions: all sequences of one together, and a mask on the grid of each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.errors import DataError
from strokelabel.inference.batch import ScanBatch, ScanTable, run_scans
from strokelabel.inference.naming import ENSEMBLE_METHOD, ResultNames, group_sessions
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.parcellate import Parcellator
from strokelabel.inference.provenance import MADE_TOGETHER, is_made_from, known_sidecar, provenance
from strokelabel.inference.segment.alignment import Alignment
from strokelabel.inference.segment.batch import LesionRow, OutputChoice, mask_tables, write_outputs
from strokelabel.inference.segment.ensemble import EnsemblePrediction, OtherSequence, SessionEnsemble
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.structure_tables import described_lesion
from strokelabel.inference.segment.uncertainty import check_passes
from strokelabel.io import Image, read_image
from strokelabel.io.file_search import SearchProblem, absolute_path

TABLE_NAME = "ensembles.csv"
STRUCTURES_NAME = "ensemble_structures.csv"


@dataclass(frozen=True)
class EnsembleRow(LesionRow):
    """Result of one scan of a session, from all its sequences.

    Attributes:
        sequences: names of the files that the mask is made from, the scan first.
        left_out: names of those that could not be used; `reason` says why.
    """

    sequences: str | None = None
    left_out: str | None = None


def sequences_of(scans: Iterable[Path]) -> list[OtherSequence]:
    """Return sequences by their paths, which are read when their turn comes."""
    return [OtherSequence(str(scan), partial(_read, scan)) for scan in scans]


def predict_sessions(
    predictor: Predictor,
    scans: Sequence[Path],
    folder: Path,
    choice: OutputChoice | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    problems: Sequence[SearchProblem] = (),
    structures: Parcellator | None = None,
) -> Iterator[EnsembleRow]:
    """Predict the sequences of each session together, write a mask on the grid of each, and the table.

    Results are kept as `segment.batch.predict_scans` keeps them, as long as the session has the same sequences and
    none of them has changed. A scan whose name tells no session fails, and so does one that cannot be read; the
    others of its session are predicted without it.

    Args and errors: as `predict_scans`.
    """
    task = SessionTask(predictor, scans, folder, choice or OutputChoice(), overwrite, structures)
    return run_scans(task, ScanBatch.of(scans, problems, by_session=True), progress)


class SessionTask:
    """Batch task that segments the lesion of each scan of a session; the network sees each sequence once.

    Args and errors: as `predict_sessions`.
    """

    def __init__(
        self,
        predictor: Predictor,
        scans: Sequence[Path],
        folder: Path,
        choice: OutputChoice,
        overwrite: bool = False,
        structures: Parcellator | None = None,
    ) -> None:
        if choice.passes is not None:
            check_passes(predictor, choice.passes)
        self._tables = mask_tables(choice, structures, folder, STRUCTURES_NAME)
        details = [one.table for one in self._tables]
        self.table = ScanTable(folder, TABLE_NAME, EnsembleRow.columns(), details)
        self._predictor = predictor
        self._options = replace(predictor.options, keep_probabilities=choice.probabilities and choice.tissues)
        self._folder = folder
        self._choice = choice
        self._overwrite = overwrite
        self._sessions = {str(scan): session for session in group_sessions(scans) for scan in session}
        self._current: tuple[tuple[Path, ...], SessionEnsemble] | None = None

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> EnsembleRow:
        """Predict one scan from all sequences of its session, and write its files."""
        session = self._sessions[image.source]
        others = sequences_of(scan for scan in session if str(scan) != image.source)
        together = self._ensemble(session).predict(image, others, progress)
        prediction, names = together.found.prediction, replace(names, method=ENSEMBLE_METHOD)
        found = together.found if self._choice.passes is not None else None
        more = describe_ensemble(together)
        for table in self._tables:
            more |= table.write(prediction, image, names, progress)
        notes = write_outputs(prediction, image, self._folder, names, self._choice, found, more)
        return EnsembleRow(
            source=image.source,
            mask=names.mask,
            volume_ml=prediction.volume_ml,
            lesion_count=prediction.lesion_count,
            sequences=_names(together.used),
            left_out=_names(one.name for one in together.left_out),
            details=described_lesion(self._tables, more),
            reason="; ".join([*more["notes"], *notes]),
        )

    def failed(self, source: str, reason: str) -> EnsembleRow:
        """Return the row of a scan that could not be predicted."""
        return EnsembleRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> EnsembleRow | None:
        """Return the row of results that are there, made from the same sequences, model and options.

        Raises:
            DataError: the scan's name tells no session.
        """
        session, names = self._sessions.get(str(absolute_path(scan))), replace(names, method=ENSEMBLE_METHOD)
        if session is None:
            raise DataError(
                "expected a BIDS name of an MR sequence, such as sub-01_ses-1_FLAIR.nii.gz, that says which scans "
                "belong together; rename the scan, or predict it without --ensemble",
                source=scan,
            )
        mask = self._folder / names.mask
        if self._overwrite or not mask.exists():
            return None
        made_by = provenance(self._predictor.spec, self._options) | self._choice.provenance() | MADE_TOGETHER
        known = known_sidecar(mask, scan, made_by, of_several=True)
        complete = all((self._folder / name).exists() for name in self._choice.names(names))
        source = str(absolute_path(scan))
        if known is None or not complete or not is_made_from(known, session, mask):
            return None
        if not all(table.known(source, names, known) for table in self._tables):
            return None
        return EnsembleRow(
            source=source,
            mask=names.mask,
            volume_ml=known["volume_ml"],
            lesion_count=known["lesion_count"],
            sequences=_names(known["Sources"]),
            left_out=_names(known["left_out"]),
            details=described_lesion(self._tables, known),
            status="kept",
            reason="; ".join(known["notes"]),
        )

    def _ensemble(self, session: tuple[Path, ...]) -> SessionEnsemble:
        """Return what predicts a session; the logits of the session before are dropped."""
        if self._current is None or self._current[0] != session:
            ensemble = SessionEnsemble(self._predictor, self._options, self._choice.passes, keep=True)
            self._current = session, ensemble
        return self._current[1]


def describe_ensemble(together: EnsemblePrediction) -> dict[str, Any]:
    """Return what the sidecar of an ensemble's mask says more than that of a scan's; names are paths."""
    return {
        **MADE_TOGETHER,
        "Sources": list(together.used),
        "notes": [*together.found.prediction.notes, *_alone(together)],
        "left_out": {one.name: one.reason for one in together.left_out},
        "alignment": {name: _described(one) for name, one in together.alignments.items()},
    }


def _alone(together: EnsemblePrediction) -> list[str]:
    """Return a note where there was nothing to average."""
    if len(together.used) > 1 or together.left_out:
        return []
    return ["the only sequence of its session, predicted by itself"]


def _described(alignment: Alignment) -> dict[str, Any]:
    """Return where a sequence lies, as JSON."""
    if alignment.moved_mm is None:
        return {"by": "header", "brain_overlap": round(alignment.overlap_before, 4)}
    return {
        "by": "rigid registration",
        "brain_overlap": round(alignment.overlap_after, 4),
        "brain_overlap_by_header": round(alignment.overlap_before, 4),
        "moved_mm": round(alignment.moved_mm, 2),
        "turned_degrees": round(alignment.turned_deg, 2),
        "scan_to_sequence": np.round(alignment.to_sequence, 6).tolist(),
    }


def _read(scan: Path) -> Image:
    return replace(read_image(scan), source=str(scan))


def _names(paths: Iterable[str]) -> str:
    return ", ".join(Path(path).name for path in paths)
