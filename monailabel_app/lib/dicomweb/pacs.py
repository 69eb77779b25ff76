"""Requests to one DICOMweb server, with one clear message when they fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from monailabel.datastore.dicom import DICOMwebClientX
from pydicom.dataset import Dataset

from strokelabel.errors import StrokeLabelError

logger = logging.getLogger(__name__)

_SERIES_FIELDS = (
    "PatientID",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
)
_CONNECT_S = 5.0
_WHAT_TO_DO = {
    401: "set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD",
    403: "ask its administrator for the right to do so",
    404: "check the address given as --studies",
}


class PacsError(StrokeLabelError):
    """Failure of the DICOMweb server: down, too slow, refusing, or answering something else; answered as 503."""


class Pacs:
    """One DICOMweb server.

    Args:
        url: of its DICOMweb service, such as http://127.0.0.1:8042/dicom-web.
        credentials: user and password; None when it asks for none.
        prefixes: paths of its services below the URL, by "qido_url_prefix", "wado_url_prefix", "stow_url_prefix".
        search_s: how long an answer to a search may take.
        transfer_s: how long images may take until their first bytes, and between bytes.
    """

    def __init__(
        self,
        url: str,
        credentials: tuple[str, str] | None = None,
        prefixes: Mapping[str, str | None] | None = None,
        search_s: float = 5.0,
        transfer_s: float = 30.0,
    ) -> None:
        self.url = url.rstrip("/")
        self._search = _client(self.url, credentials, prefixes or {}, search_s)
        self._transfer = _client(self.url, credentials, prefixes or {}, transfer_s)

    def series(self, search: Mapping[str, Any]) -> list[Dataset]:
        """Return the series that a search matches (QIDO-RS).

        Args:
            search: keyword -> value to match.

        Raises:
            PacsError: see there.
        """
        with self._asked("list its series"):
            found = self._search.search_for_series(
                search_filters=dict(search), fields=_SERIES_FIELDS, get_remaining=True
            )
            return [Dataset.from_json(item) for item in found]

    def metadata(self, study: str, series: str) -> list[Dataset]:
        """Return the headers of a series' instances, without bulk data (WADO-RS). Those of a SEG with many frames take
        long.

        Raises:
            PacsError: see there.
        """
        with self._asked("describe a series"):
            found = self._transfer.retrieve_series_metadata(study, series)
            return [Dataset.from_json(item, bulk_data_uri_handler=lambda _: None) for item in found]

    def download(self, study: str, series: str, folder: Path) -> None:
        """Write the instances of a series to a folder, in the transfer syntax in which they are stored.

        Raises:
            PacsError: see there; files that had come until then are left.
            OSError: the folder cannot be written to.
        """
        with self._asked("send a series"):
            count = 0
            for instance in self._transfer.iter_series(study, series, (("application/dicom", "*"),)):
                count += 1
                instance.save_as(folder / f"{count:06d}.dcm", write_like_original=False)
        if not count:
            raise PacsError(
                f"The DICOMweb server {self.url} sent no instances of series {series}; try again."
            )

    def store(self, instances: Sequence[Dataset]) -> None:
        """Store instances (STOW-RS).

        Raises:
            PacsError: see there; in particular when the server reports that it did not store one.
        """
        with self._asked("store a label"):
            answer = self._transfer.store_instances(list(instances))
            failed = answer.get("FailedSOPSequence") or []
        if failed:
            reason = failed[0].get("FailureReason")
            raise PacsError(
                f"The DICOMweb server {self.url} did not store the label (failure reason {reason}); it is not kept: "
                "ask its administrator, and submit again."
            )

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Say in one sentence what went wrong while the server was asked."""
        try:
            yield
        except Exception as error:  # a parser may meet anything in an answer that is none
            if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                raise
            logger.debug("A DICOMweb request failed", exc_info=True)
            raise PacsError(
                f"The DICOMweb server {self.url} was asked to {what}, but {_reason(error)}."
            ) from error


def _reason(error: Exception) -> str:
    """Return the reason of a failure, and what to do."""
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        return f"refused with status {status}; {_WHAT_TO_DO.get(status, 'see its log, and try again')}"
    if isinstance(error, requests.Timeout):
        return "did not answer in time; check it, and try again"
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "cannot be reached; check that it runs, and try again"
    if isinstance(error, requests.TooManyRedirects):
        return "redirected to another address; give its final address as --studies"
    return "gave an answer that is not DICOMweb; check the address given as --studies"


class _PatientAdapter(requests.adapters.HTTPAdapter):
    """HTTP adapter with a time limit for every request; dicomweb-client sets none."""

    def __init__(self, read_s: float) -> None:
        self._limits = (_CONNECT_S, read_s)
        super().__init__()

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401
        """Send a request under the limit."""
        return super().send(request, **{**options, "timeout": options.get("timeout") or self._limits})


def _client(
    url: str, credentials: tuple[str, str] | None, prefixes: Mapping[str, str | None], read_s: float
) -> DICOMwebClient:
    session = requests.Session()
    session.auth = credentials
    session.max_redirects = 0  # no other server than the given one is ever asked
    for scheme in ("http://", "https://"):
        session.mount(scheme, _PatientAdapter(read_s))
    client = DICOMwebClientX(url=url, session=session, **prefixes)
    client.set_http_retry_params(retry=False)
    return client
