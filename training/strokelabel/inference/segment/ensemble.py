"""One prediction from all sequences of a session: the mean of their logits on a common grid.

As in Chalcroft et al. 2025 ("multi-modal ensembling"). `alignment` says where each sequence lies; what does not overlap
or cannot be used is left out, and the notes say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strokelabel.errors import ImageError
from strokelabel.inference.network_input import OnProgress, ShownScan, silent, trained_flips
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.alignment import Alignment, align, resampled
from strokelabel.inference.segment.prediction import decide
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.uncertainty import Passes, Uncertainty, passes_of
from strokelabel.inference.several_passes import PassSums
from strokelabel.io import Image
from strokelabel.types import ChannelVolume


@dataclass(frozen=True)
class OtherSequence:
    """Another sequence of the subject, read when its turn comes, so that one is in memory at a time.

    Attributes:
        name: what a user calls it.
        load: reads it.
    """

    name: str
    load: Callable[[], Image]


@dataclass(frozen=True)
class LeftOut:
    """A sequence that is not used.

    Attributes:
        name: of the sequence.
        reason: why not, and what to do.
    """

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """Prediction from several sequences, on the grid of the first.

    Attributes:
        found: prediction, scores and maps; without `Passes` the passes are the sequences themselves.
        used: names of the sequences, the one whose grid this is first.
        alignments: of the used sequences but the first, by name.
        left_out: the others.
    """

    found: Uncertainty
    used: tuple[str, ...]
    alignments: dict[str, Alignment]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, eq=False)
class _Shown:
    """A sequence as the network is shown it, and the logits (classes, x, y, z) of each pass over it."""

    scan: ShownScan
    logits: Iterable[ChannelVolume]


class SessionEnsemble:
    """Prediction of the scans of a session together, on the grid of each in turn.

    Args:
        predictor: the model.
        options: as for each sequence by itself; a CT window applies to all of them.
        passes: show every sequence several times, for maps of uncertainty that do not only say where the sequences
            differ.
        keep: keep the logits of all sequences in memory, for a session of which each scan gets a mask; those of
            several passes never are.
    """

    def __init__(
        self,
        predictor: Predictor,
        options: PredictionOptions | None = None,
        passes: Passes | None = None,
        keep: bool = False,
    ) -> None:
        self._predictor = predictor
        self._options = options or predictor.options
        self._passes = passes
        self._keep = keep and passes is None
        self._kept: dict[str, _Shown | ImageError] = {}

    def predict(
        self, image: Image, others: Sequence[OtherSequence], progress: OnProgress | None = None
    ) -> EnsemblePrediction:
        """Predict a scan together with the other sequences; see `predict_ensemble`."""
        began = time.perf_counter()
        predictor, options, report = self._predictor, self._options, progress or silent
        scan = self._shown(image.source, lambda: image)
        sums, count, first = PassSums(predictor.lesion), 0, None
        for logits in scan.logits:
            sums.add(logits)
            first = logits if first is None else first
            count += 1
        assert first is not None
        used, alignments, left_out = [image.source], {}, []
        for done, other in enumerate(others, start=1):
            report("predicting the sequences", 0.9 * done / (len(others) + 1))
            try:
                alignments[other.name], more = self._add(sums, scan.scan, first, other)
                count += more
                used.append(other.name)
            except ImageError as error:
                left_out.append(LeftOut(other.name, error.message))
        scores = predictor.on_scan(sums.probabilities(), scan.scan, image, options)
        notes = [
            *scores.notes,
            *_notes(alignments),
            *(f"left out {_short(o.name)}: {o.reason}" for o in left_out),
        ]
        scores = replace(scores, notes=tuple(dict.fromkeys(notes)))
        prediction = decide(scores, image.grid.voxel_volume_ml, predictor.spec, options)
        prediction = replace(prediction, seconds=time.perf_counter() - began)
        report("done", 1.0)
        found = Uncertainty(prediction, scores, sums.maps(scan.scan), count, "sequences")
        return EnsemblePrediction(found, tuple(used), alignments, tuple(left_out))

    def _add(
        self, sums: PassSums, scan: ShownScan, first: ChannelVolume, other: OtherSequence
    ) -> tuple[Alignment, int]:
        """Add the passes over another sequence; return where it lies, and how many they are.

        Raises:
            ImageError: it cannot be read, or does not lie where the scan does.
        """
        shown = self._shown(other.name, other.load)
        alignment, count = None, 0
        for logits in shown.logits:
            alignment = alignment or align(scan, first, shown.scan, logits)
            sums.add(*resampled(logits, shown.scan, scan, alignment.to_sequence))
            count += 1
        assert alignment is not None
        return alignment, count

    def _shown(self, name: str, load: Callable[[], Image]) -> _Shown:
        """Show the network a sequence, or return what is kept of it.

        Raises:
            ImageError: it cannot be read or segmented.
        """
        known = self._kept.get(name)
        if known is None:
            try:
                shown = self._predictor.show(load(), self._options)
                logits = _passes(self._predictor, shown, self._options, self._passes)
                known = _Shown(shown, list(logits) if self._keep else logits)
            except ImageError as error:
                known = error
            if self._keep:
                self._kept[name] = known
        if isinstance(known, ImageError):
            raise known
        return known


def predict_ensemble(
    predictor: Predictor,
    image: Image,
    others: Sequence[OtherSequence],
    options: PredictionOptions | None = None,
    passes: Passes | None = None,
    progress: OnProgress | None = None,
) -> EnsemblePrediction:
    """Predict a scan together with the other sequences of the session.

    Args:
        predictor: the model.
        image: the scan on whose grid the answer lies.
        others: further sequences; one that cannot be read, or lies at another position where registration does not
            help, is left out with a note.
        options, passes: see `SessionEnsemble`.
        progress: told how far it is.

    Raises:
        ImageError: `image` itself cannot be segmented.
    """
    return SessionEnsemble(predictor, options, passes).predict(image, others, progress)


def _passes(
    predictor: Predictor, scan: ShownScan, options: PredictionOptions, passes: Passes | None
) -> Iterator[ChannelVolume]:
    """Yield the logits (classes, x, y, z) of each pass over one sequence."""
    if passes is not None:
        yield from passes_of(predictor, scan, passes)[0]
    else:
        yield scan.engine.mean_output(scan.item(), trained_flips(predictor.spec) if options.tta else ())


def _notes(alignments: dict[str, Alignment]) -> list[str]:
    """Say which sequences were registered."""
    return [
        f"{_short(name)} was registered to the scan, as their headers disagree: moved by {one.moved_mm:.0f} mm, "
        f"turned by {one.turned_deg:.0f} degrees"
        for name, one in alignments.items()
        if one.moved_mm is not None
    ]


def _short(name: str) -> str:
    """Return the file's name of a sequence that is called by its path."""
    return Path(name).name
