"""Sessions: the scans whose sequences are predicted together, and the results that were made so. Needs no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from strokelabel.inference.provenance import is_newer
from strokelabel.io.bids import dataset_root, image_stem, session_of
from strokelabel.io.file_search import absolute_path

METHOD: Final = "ensemble"
"""In the names of the files, so that they lie beside those of each scan by itself."""

MADE_TOGETHER: Final = {"ensemble": True}
"""In the sidecars of their masks."""


def group_sessions(scans: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Group scans by data set, subject, session and space, as BIDS names them (`io.bids.session_of`).

    Returns:
        The scans of each session as absolute paths, each once, by name. A scan whose name tells no session is in none.
    """
    groups: dict[Any, list[Path]] = defaultdict(list)
    for scan in dict.fromkeys(map(absolute_path, scans)):
        if (session := session_of(image_stem(scan))) is not None:
            groups[dataset_root(scan), session].append(scan)
    return [tuple(sorted(group, key=image_stem)) for group in groups.values()]


def is_made_from(known: dict[str, Any], scans: Iterable[Path], mask: Path) -> bool:
    """Return whether a mask was made from these scans, used or left out, as they are now.

    Args:
        known: sidecar of the mask.
        scans: of the session.
        mask: a file that exists.
    """
    paths = list(scans)
    named = {*known.get("Sources", ()), *known.get("left_out", ())}
    return named == {str(path) for path in paths} and not any(is_newer(path, mask) for path in paths)
