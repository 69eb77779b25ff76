"""Cases of an evaluation: scans with a reference mask, found in a data set or listed in a table."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from strokelabel.errors import DataError, ImageError, OptionError
from strokelabel.geometry import is_same_grid
from strokelabel.inference.naming import ENSEMBLE_METHOD, ResultNames, group_sessions, unique_stems
from strokelabel.io.bids import entities_of, image_stem
from strokelabel.io.file_search import absolute_path
from strokelabel.io.lesion_pairs import LesionPair, PairSearch, find_lesion_pairs
from strokelabel.io.tables import read_table
from strokelabel.io.volumes import read_grid

NO_GROUP = "scan"
"""Group of the scans whose names are not BIDS's."""

ENSEMBLE: Final = "Ensemble"
"""Group of the sessions whose sequences are predicted together."""

AnyCase = TypeVar("AnyCase")

_TEMPLATE = re.compile(r"^(MNI|ICBM|Talairach|tpl|fs|NIHPD|OASIS)", re.IGNORECASE)


@dataclass(frozen=True)
class EvaluationCase:
    """A scan with a reference mask.

    Attributes:
        name: unique among the cases; the scan's name as a rule.
        group: rows of the tables are made per group; the BIDS suffix (contrast) as a rule.
        reference: file of the reference mask.
        image: file of the scan, if known.
        predictions: masks that exist already, by method.
        others: further scans of the session that are predicted together with this one; None for a scan by itself.
    """

    name: str
    group: str
    reference: Path
    image: Path | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    others: tuple[Path, ...] | None = None

    @property
    def names(self) -> ResultNames:
        """Names of the files that a model writes for the case."""
        if self.others is None:
            return ResultNames(self.name)
        return ResultNames(self.name.removesuffix(f"_{ENSEMBLE}"), ENSEMBLE_METHOD)


@dataclass(frozen=True)
class CaseSearch:
    """Result of a search in a data set.

    Attributes:
        cases: in order of their names.
        without_mask: number of scans of the wanted contrasts that have no mask.
        problems: a sentence for each mask that could not be used.
        scans: all scans of the wanted contrasts, with a mask or without.
    """

    cases: tuple[EvaluationCase, ...]
    without_mask: int = 0
    problems: tuple[str, ...] = ()
    scans: tuple[Path, ...] = ()


def find_cases(
    folder: Path, masks: Path | None = None, suffixes: Sequence[str] = (), share_masks: bool = False
) -> CaseSearch:
    """Find scans with lesion masks in a BIDS data set; `io.lesion_pairs` says how they are told to belong together.

    Args:
        folder: the data set.
        masks: take masks from this folder alone.
        suffixes: contrasts wanted, such as ("T1w", "FLAIR"); all if empty.
        share_masks: also give the mask of a session to its other scans of the wanted contrasts, trusting that the
            patient lay still: mask and scan are matched by their positions in the scanner.

    Raises:
        OptionError: masks are to be shared, but contrasts are not named; or nothing is left to evaluate.
        DataError: no scan with a mask, or several masks for one.
    """
    if share_masks and not suffixes:
        raise OptionError(
            "expected the contrasts that may share a session's mask (such as --suffix T1w,T2w,FLAIR), got none"
        )
    search = find_lesion_pairs(folder, masks=masks)
    pairs = list(search.pairs)
    used: set[Path] = set()
    if share_masks:
        shared = _shared(search, suffixes)
        used = {pair.mask for pair in shared}
        pairs += shared
    wanted = [pair for pair in pairs if not suffixes or suffix_of(pair.image) in suffixes]
    if not wanted:
        found = ", ".join(sorted({suffix_of(pair.image) for pair in pairs}))
        raise OptionError(
            f"{folder}: expected scans of {', '.join(suffixes)} with lesion masks, found {found}"
        )
    alone = {image for image in search.images_alone if not suffixes or suffix_of(image) in suffixes}
    problems = tuple(
        f"{mask}: expected a scan that this mask was drawn on, found none; name both in a table (--pairs)"
        for mask in search.masks_alone
        if mask not in used
    )
    images = {pair.image for pair in wanted}
    return CaseSearch(as_cases(wanted), len(alone - images), problems, tuple(sorted(images | alone)))


def as_cases(pairs: Sequence[LesionPair]) -> tuple[EvaluationCase, ...]:
    """Return the cases of scans with masks, in order of their names, which are made unique."""
    names = unique_stems([pair.image for pair in pairs])
    cases = [
        EvaluationCase(name, suffix_of(pair.image), pair.mask, pair.image)
        for name, pair in zip(names, pairs, strict=True)
    ]
    return tuple(sorted(cases, key=lambda case: case.name))


def ensemble_cases(cases: Sequence[EvaluationCase], scans: Sequence[Path]) -> tuple[EvaluationCase, ...]:
    """Return a case for each session of the cases: all its sequences, scored against one mask of it.

    The mask is that of the first scan, by name, on whose grid it lies: the one that it was drawn on.

    Args:
        cases: scans with masks, among them those of the sessions.
        scans: all scans whose sequences may be predicted together.
    """
    by_image = {absolute_path(case.image): case for case in cases if case.image is not None}
    found = []
    for session in group_sessions([*scans, *by_image]):
        own = [by_image[scan] for scan in session if scan in by_image]
        if not own:
            continue
        case = next((one for one in own if _is_on_its_grid(one)), own[0])
        others = tuple(scan for scan in session if by_image.get(scan) is not case)
        found.append(
            replace(case, name=f"{case.name}_{ENSEMBLE}", group=ENSEMBLE, predictions={}, others=others)
        )
    return tuple(found)


def _is_on_its_grid(case: EvaluationCase) -> bool:
    """Return whether the mask of a case has the voxels of its scan; false where one of them cannot be read."""
    try:
        return case.image is not None and is_same_grid(read_grid(case.reference), read_grid(case.image))
    except ImageError:
        return False


def suffix_of(image: Path) -> str:
    """Return the BIDS suffix of a scan's name, such as "T1w"; `NO_GROUP` for other names."""
    stem = image_stem(image)
    return stem.rsplit("_", 1)[-1] if stem.startswith("sub-") and "_" in stem else NO_GROUP


def _shared(search: PairSearch, suffixes: Sequence[str]) -> list[LesionPair]:
    """Return pairs of scans without a mask of their own and the only mask of their session."""
    masks: dict[tuple[str, ...], set[Path]] = defaultdict(set)
    for mask in [*(pair.mask for pair in search.pairs), *search.masks_alone]:
        masks[_session(mask)].add(mask)
    pairs = []
    for image in search.images_alone:
        session = _session(image)
        if suffix_of(image) in suffixes and session[0] and len(masks[session]) == 1:
            pairs.append(LesionPair(image_stem(image), session[0], image, next(iter(masks[session]))))
    return pairs


def _session(path: Path) -> tuple[str, str, str]:
    """Return the subject, session and template space of a BIDS name."""
    found = entities_of(image_stem(path))
    space = found.get("space", "")
    return found.get("sub", ""), found.get("ses", ""), space if _TEMPLATE.match(space) else ""


TABLE_METHOD: Final = "prediction"
"""Name of the method in a column `prediction`; `prediction_NAME` is method NAME."""

_COLUMNS: Final = ("image", "reference", "group", "name")


def read_pairs(path: Path) -> tuple[EvaluationCase, ...]:
    """Read a table of cases.

    Args:
        path: a table (`io.tables`) with a column `reference`, and any of `image`, `prediction`, `prediction_NAME` (one
            per method), `group` and `name`. Paths are relative to the table.

    Raises:
        OptionError: no such file, no such columns, an empty reference, or names that are not unique.
    """
    try:
        table = read_table(path)
    except DataError as error:
        raise OptionError(error.message, source=path) from error
    _check_columns(path, table.columns)
    if not table.rows:
        raise OptionError(f"{path}: expected a row for each case, found none")
    cases = [_case(path, number, row) for number, row in zip(table.lines, table.rows, strict=True)]
    return _with_names(path, cases)


def _check_columns(path: Path, columns: list[str]) -> None:
    unknown = [name for name in columns if name not in _COLUMNS and not _is_prediction(name)]
    if "reference" not in columns or unknown:
        raise OptionError(
            f"{path}: expected the columns image, reference, prediction (or prediction_NAME), group and "
            f"name, of which reference is needed, found {', '.join(columns) or 'none'}"
        )


def _is_prediction(column: str) -> bool:
    return column == TABLE_METHOD or column.startswith(f"{TABLE_METHOD}_")


def _case(path: Path, number: int, cells: dict[str, str]) -> EvaluationCase:
    if not cells["reference"]:
        raise OptionError(f"{path}: expected the path of a reference mask in line {number}, found none")
    image = path.parent / cells["image"] if cells.get("image") else None
    predictions = {
        key.removeprefix(f"{TABLE_METHOD}_"): path.parent / cell
        for key, cell in cells.items()
        if _is_prediction(key) and cell
    }
    reference = path.parent / cells["reference"]
    group = cells.get("group") or suffix_of(image or reference)
    return EvaluationCase(cells.get("name", ""), group, reference, image, predictions)


def _with_names(path: Path, cases: list[EvaluationCase]) -> tuple[EvaluationCase, ...]:
    """Return the cases with the names of their scans (or references) where the table gives none."""
    stems = unique_stems([case.image or case.reference for case in cases])
    names = [case.name or stem for case, stem in zip(cases, stems, strict=True)]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise OptionError(
            f"{path}: expected a name of its own for each case, found {repeated[0]} more than once"
        )
    return tuple(
        EvaluationCase(name, case.group, case.reference, case.image, case.predictions)
        for name, case in zip(names, cases, strict=True)
    )
