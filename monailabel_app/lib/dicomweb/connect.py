"""From MONAI Label's settings and `--conf` to a datastore."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.config import Settings, settings

from lib.dicomweb.listing import PacsListing
from lib.dicomweb.pacs import Pacs
from lib.dicomweb.pacs_datastore import DicomWebDatastore
from lib.dicomweb.series_cache import Notes, SeriesCache
from lib.places import is_web_address
from strokelabel.errors import OptionError
from strokelabel.registry import ModelSpec

DEFAULT_MODALITIES = ("MR", "CT")
DEFAULT_CACHE_GB = 20.0
_GB = 1e9


def is_dicomweb(studies: str) -> bool:
    """Return whether `--studies` is a DICOMweb server: a web address, and not of MONAI Label's XNAT or DSA
    datastores.
    """
    return is_web_address(studies) and settings.MONAI_LABEL_DATASTORE.lower() not in (
        "xnat",
        "dsa",
    )


def open_dicomweb(studies: str, conf: Mapping[str, str], model: Callable[[], ModelSpec]) -> DicomWebDatastore:
    """Open the datastore of a DICOMweb server. No request is sent yet: a PACS may be down when this starts.

    Args:
        studies: its address.
        conf: "dicomweb_cache_gb" bounds the copies.
        model: the model as it is now.

    Raises:
        OptionError, OutputError: an unusable option or cache folder.
    """
    url = studies.strip().rstrip("/")
    user = settings.MONAI_LABEL_DATASTORE_USERNAME or settings.MONAI_LABEL_DICOMWEB_USERNAME
    password = settings.MONAI_LABEL_DATASTORE_PASSWORD or settings.MONAI_LABEL_DICOMWEB_PASSWORD
    prefixes = {
        "qido_url_prefix": settings.MONAI_LABEL_QIDO_PREFIX or None,
        "wado_url_prefix": settings.MONAI_LABEL_WADO_PREFIX or None,
        "stow_url_prefix": settings.MONAI_LABEL_STOW_PREFIX or None,
    }
    pacs = Pacs(
        url,
        (user, password) if user and password else None,
        prefixes,
        settings.MONAI_LABEL_DICOMWEB_READ_TIMEOUT,
        settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
    )
    folder = _cache_folder(url)
    return DicomWebDatastore(
        pacs,
        PacsListing(pacs, searches(settings), folder / "segs.json"),
        SeriesCache(folder, _limit_bytes(conf)),
        Notes(folder / "notes.json"),
        model,
        settings.MONAI_LABEL_DATASTORE_READ_ONLY,
    )


def searches(options: Settings) -> list[dict[str, Any]]:
    """Return the QIDO searches that find the series to segment: one for each modality.

    MONAI Label's default finds CT only, so it is not taken for a wish. A modality may be a list, or several with
    commas between them.
    """
    wished = "MONAI_LABEL_DICOMWEB_SEARCH_FILTER" in options.model_fields_set
    search = (
        dict(options.MONAI_LABEL_DICOMWEB_SEARCH_FILTER) if wished else {"Modality": list(DEFAULT_MODALITIES)}
    )
    modalities = search.pop("Modality", None)
    if modalities is None:
        return [search]
    several = modalities if isinstance(modalities, list) else str(modalities).replace("\\", ",").split(",")
    return [{**search, "Modality": str(modality).strip()} for modality in several]


def _cache_folder(url: str) -> Path:
    chosen = settings.MONAI_LABEL_DATASTORE_CACHE_PATH or settings.MONAI_LABEL_DICOMWEB_CACHE_PATH
    root = (
        Path(chosen.strip()).expanduser()
        if chosen.strip()
        else Path.home() / ".cache" / "strokelabel" / "dicomweb"
    )
    return root / hashlib.sha256(url.encode()).hexdigest()[:16]


def _limit_bytes(conf: Mapping[str, str]) -> int:
    given = conf.get("dicomweb_cache_gb")
    try:
        gigabytes = DEFAULT_CACHE_GB if given is None else float(given)
    except ValueError:
        gigabytes = math.nan
    if not (math.isfinite(gigabytes) and gigabytes > 0):
        raise OptionError(
            f"--conf dicomweb_cache_gb: expected a number of gigabytes above 0, found {given!r}."
        )
    return int(gigabytes * _GB)
