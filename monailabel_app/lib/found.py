"""Bringing the datastore's table in line with the files that are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monailabel.datastore.local import LocalDatastoreModel

from lib.labels.history import LabelHistory
from lib.studies import IMAGE_SUFFIXES, LABEL_SUFFIXES, split_suffix
from lib.table import new_image, new_label


def reconcile(
    table: LocalDatastoreModel, paths: Mapping[str, Path], labels: Path, history: LabelHistory
) -> None:
    """Enter files that came, and strike out those that went.

    A label that the table does not know gets back what was written down about it when it was submitted.

    Args:
        table: changed in place.
        paths: id -> path of the scans that are there.
        labels: the studies' folder "labels".
        history: of the labels.
    """
    objects = table.objects
    for image_id in [image_id for image_id in objects if image_id not in paths]:
        del objects[image_id]
    for image_id, path in paths.items():
        if image_id not in objects:
            objects[image_id] = new_image(image_id, split_suffix(path.name, IMAGE_SUFFIXES)[1], {})
    files = _label_files(labels)
    for image_id, entry in objects.items():
        for tag in [
            tag for tag, label in entry.labels.items() if not _is_there(labels, tag, image_id, label.ext)
        ]:
            del entry.labels[tag]
        for tag, suffix in files.get(image_id, {}).items():
            if tag not in entry.labels:
                file = labels / tag / f"{image_id}{suffix}"
                entry.labels[tag] = new_label(image_id, suffix, history.info_of(tag, image_id, file) or {})


def _is_there(labels: Path, tag: str, image_id: str, suffix: str) -> bool:
    return (labels / tag / f"{image_id}{suffix}").is_file()


def _label_files(labels: Path) -> dict[str, dict[str, str]]:
    """Image id -> tag -> suffix of the label files; the suffix that comes first in `LABEL_SUFFIXES` counts."""
    found: dict[str, dict[str, str]] = {}
    for folder in labels.iterdir() if labels.is_dir() else ():
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        for suffix in reversed(LABEL_SUFFIXES):
            for file in folder.iterdir():
                stem, kind = split_suffix(file.name, LABEL_SUFFIXES)
                if kind.lower() == suffix and stem and not stem.startswith("."):
                    found.setdefault(stem, {})[folder.name] = kind
    return found
