"""Labels of a datastore for training, in the form of fine-tuning."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore

from lib.studies.datastore import StudiesDatastore
from lib.studies.label_files import LESION_NAME, lesion_value
from lib.studies.review import Policy, training_tag
from strokelabel.errors import LabelMapError
from strokelabel.fit.fine_tuning.cases import SubmittedLabel

logger = logging.getLogger(__name__)

_UNAVAILABLE = 503


def submitted_labels(datastore: Datastore, policy: Policy = "reviewed") -> list[SubmittedLabel]:
    """Return the scans that have a label to train on, with the value of the lesion in it.

    Final labels that were put there by hand on another grid than their scan's are among them, so that fine-tuning
    refuses them by name.

    Args:
        datastore: the app's own; a label that names classes but no lesion is left out, with a line of log.
        policy: "reviewed": labels that a person drew, accepted or corrected; "all": those of models too.
    """
    found = []
    for image in datastore.list_images():
        tags = datastore.get_labels_by_image_id(image)
        infos = {str(getattr(tag, "value", tag)): datastore.get_label_info(image, tag) or {} for tag in tags}
        tag = training_tag(infos, policy)
        if tag is None:
            continue
        try:
            value = lesion_value(infos[tag])
        except LabelMapError:
            logger.warning(f"{image} is left out: its label has no class named {LESION_NAME!r}")
            continue
        try:
            path, label = datastore.get_image_uri(image), datastore.get_label_uri(image, tag)
        except HTTPException as error:  # a series or SEG of a PACS that cannot be used
            if error.status_code == _UNAVAILABLE:
                raise
            logger.warning(f"{image} is left out: {error.detail}")
            continue
        subject = str((datastore.get_image_info(image) or {}).get("PatientID") or subject_of(image))
        found.append(SubmittedLabel(image, subject, Path(path), Path(label), value))
    refused = datastore.refused_labels() if isinstance(datastore, StudiesDatastore) else {}
    for image, path in refused.items():
        scan = Path(datastore.get_image_uri(image))
        found.append(SubmittedLabel(image, subject_of(image), scan, Path(path)))
    return found


def subject_of(image: str) -> str:
    """Return the subject of a scan whose header does not name it: its BIDS subject, or the scan's id."""
    first = image.split("_", 1)[0]
    return first if first.startswith("sub-") else image
