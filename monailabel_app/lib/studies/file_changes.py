"""Files that come and go in the studies folder, brought into the datastore's table."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastoreModel

from lib.refusals import InvalidRequestError
from lib.studies.datastore_file import new_image, new_label
from lib.studies.label_grid import check_label_grid, read_label_segments, read_reference
from lib.studies.label_history import LabelHistory
from lib.studies.label_meaning import check_lesion
from lib.studies.scan_list import LABEL_SUFFIXES, served_suffix, split_suffix
from strokelabel.errors import ImageError
from strokelabel.io.file_search import FileSearch, printable, search_files
from strokelabel.io.label_files import LESION_NAME

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int]


class FoundLabels:
    """Label files that were put there by hand: only those on their scan's grid whose lesion can be told are entered.

    Each one that is refused is named in the log, once for each state of its file and its scan's.

    Args:
        studies: the studies folder.
        labels: the folder "labels".
    """

    def __init__(self, studies: Path, labels: Path) -> None:
        self._studies, self._labels = studies, labels
        self._refused: dict[Path, tuple[tuple[_Stamp, _Stamp], str]] = {}
        self._unread: list[str] = []
        self._strays: list[str] = []

    def files(self) -> dict[str, dict[str, str]]:
        """Return the suffix of the label files, by image id and tag; the suffix that comes first in `LABEL_SUFFIXES`
        counts.
        """
        search = search_files(self._labels) if self._labels.is_dir() else FileSearch()
        prefix = f"{printable(self._labels)}/"
        self._unread = [f"labels/{str(problem).removeprefix(prefix)}" for problem in search.problems]
        found: dict[str, dict[str, str]] = {}
        for path in search.files:
            stem, suffix = split_suffix(path.name, LABEL_SUFFIXES)
            if path.parent.parent != self._labels or not (suffix and stem):
                continue
            tags = found.setdefault(stem, {})
            tags[path.parent.name] = min(suffix, tags.get(path.parent.name, suffix), key=_rank)
        return found

    def info_of(self, file: Path, scan: Path, image_id: str) -> dict[str, Any] | None:
        """Return the information in a label file; None if it may not be entered for a scan, by the headers of both."""
        if not self.is_new(file, scan):
            return None
        state = self._state(file, scan)
        try:
            check_label_grid(file, read_reference(self._studies / scan, image_id))
            info = names_of_segments(file)
        except (InvalidRequestError, ImageError, OSError) as error:
            self._refused[file] = state, str(error)
            logger.warning(f"{self._name(file)} is not used, nor trained on: {error}")
            return None
        self._refused.pop(file, None)
        return info

    def is_new(self, file: Path, scan: Path) -> bool:
        """Return whether a label that is not in the table has not been refused in its present state."""
        state, known = self._state(file, scan), self._refused.get(file)
        return state[0][1] > 0 and (known is None or known[0] != state)  # empty: it is being written

    def _state(self, file: Path, scan: Path) -> tuple[_Stamp, _Stamp]:
        return _stamp(file), _stamp(self._studies / scan)

    def refused(self, tag: str) -> dict[str, Path]:
        """Return the files of labels, by image id, that were refused and are still there unchanged."""
        found = {
            split_suffix(file.name, LABEL_SUFFIXES)[0]: file
            for file, ((stamp, _), _) in list(self._refused.items())
            if file.parent.name == tag and _stamp(file) == stamp
        }
        return dict(sorted(found.items()))

    def left_out(self) -> list[str]:
        """Return a sentence for each label that was refused, and each entry of the folder that cannot be read."""
        refused = [
            f"{self._name(file)}: {reason}"
            for file, ((stamp, _), reason) in list(self._refused.items())
            if _stamp(file) == stamp
        ]
        return [*self._unread, *sorted(refused), *self._strays]

    def note_strays(self, files: Mapping[str, Mapping[str, str]], scans: Container[str]) -> None:
        """Take down the label files of no scan.

        Args:
            files: see `files`.
            scans: ids of the scans that are there.
        """
        self._strays = [
            f"{self._name(self._labels / tag / (stem + suffix))}: no scan in the studies folder has this name; it is "
            "not used"
            for stem, tags in sorted(files.items())
            if stem not in scans
            for tag, suffix in sorted(tags.items())
        ]

    def _name(self, file: Path) -> str:
        return f"labels/{file.relative_to(self._labels).as_posix()}"


def names_of_segments(file: Path) -> dict[str, Any]:
    """Return the names and values of a segmentation's segments as `label_info`; {} for other labels.

    Raises:
        InvalidRequestError: the lesion cannot be told.
    """
    segments = read_label_segments(file)
    if not segments:
        return {}
    names = [segment.name for segment in segments]
    check_lesion(dict(enumerate(names, start=1)), from_file=True)
    if sum(name.lower() == LESION_NAME for name in names) > 1:
        raise InvalidRequestError(
            "label: expected one segment named lesion in a file that is put there by hand, found several; submit it "
            "instead."
        )
    return {"label_info": [{"name": segment.name, "idx": segment.value} for segment in segments]}


def reconcile(
    table: LocalDatastoreModel,
    paths: Mapping[str, Path],
    labels: Path,
    history: LabelHistory,
    found: FoundLabels,
) -> None:
    """Enter files that came, and strike out those that went.

    A label that the table does not know is entered if it lies on its scan's grid, and gets back what was written down
    about it when it was submitted.

    Args:
        table: changed in place.
        paths: id -> path of the scans that are there.
        labels: the studies' folder "labels".
        history: of the labels.
        found: refuses labels on other grids.
    """
    objects = table.objects
    for image_id in [image_id for image_id in objects if image_id not in paths]:
        del objects[image_id]
    for image_id, path in paths.items():
        if image_id not in objects:
            objects[image_id] = new_image(image_id, served_suffix(path), {})
    files = found.files()
    found.note_strays(files, objects)
    for image_id, entry in objects.items():
        for tag in [
            tag for tag, label in entry.labels.items() if not _is_there(labels, tag, image_id, label.ext)
        ]:
            del entry.labels[tag]
        for tag, suffix in files.get(image_id, {}).items():
            file = labels / tag / f"{image_id}{suffix}"
            said = None if tag in entry.labels else found.info_of(file, paths[image_id], image_id)
            if said is not None:
                entry.labels[tag] = new_label(image_id, suffix, history.info_of(tag, image_id, file) or said)


def differs(table: LocalDatastoreModel, paths: Mapping[str, Path], labels: Path, found: FoundLabels) -> bool:
    """Return whether `reconcile` would change anything; the arguments are the same."""
    objects = table.objects
    if objects.keys() != paths.keys():
        return True
    files = found.files()
    found.note_strays(files, objects)
    for image_id, tags in files.items():
        for tag, suffix in tags.items() if image_id in objects else ():
            file = labels / tag / f"{image_id}{suffix}"
            if tag not in objects[image_id].labels and found.is_new(file, paths[image_id]):
                return True
    return not all(
        _is_there(labels, tag, image_id, label.ext)
        for image_id, entry in objects.items()
        for tag, label in entry.labels.items()
    )


def _stamp(file: Path) -> _Stamp:
    """Return the modification time of a file, and its size; (0, 0) where there is none."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _is_there(labels: Path, tag: str, image_id: str, suffix: str) -> bool:
    return (labels / tag / f"{image_id}{suffix}").is_file()


def _rank(suffix: str) -> int:
    return LABEL_SUFFIXES.index(suffix.lower())
