"""Parts of the DICOMweb datastore: servers that are down, slow or no PACS, the bound of the copies, searches."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from fastapi import HTTPException
from monailabel.config import Settings

from strokelabel.errors import OptionError, UnreadableImageError
from support.app_server import free_port
from support.bright_network import make_spec
from support.dicom_writer import write_series

AFFINE = np.array([[-0.9, 0, 0, 31.5], [0, 0.5, -3.6, 12.25], [0, 1.2, 1.5, -40], [0, 0, 0, 1]])


class _Answers(BaseHTTPRequestHandler):
    """Answers the path /<status>/... with that status, /page/... with a web page, /elsewhere/... with a redirect."""

    def do_GET(self) -> None:
        first = self.path.split("/")[1]
        status = {"page": 200, "elsewhere": 302}.get(first) or int(first)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://192.0.2.1/")
        body = b"<html>not a PACS</html>"
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("401", "refused with status 401; set MONAI_LABEL_DICOMWEB_USERNAME"),
        ("403", "refused with status 403"),
        ("404", "check the address"),
        ("500", "refused with status 500"),
        ("page", "not DICOMweb"),
        ("elsewhere", "redirected to another address"),
    ],
)
def test_a_server_that_refuses_or_is_no_pacs_is_told_of(web_server: str, path: str, sentence: str) -> None:
    from lib.dicomweb.pacs import Pacs, PacsError

    with pytest.raises(PacsError, match=sentence):
        Pacs(f"{web_server}/{path}/dicom-web").series({"Modality": "MR"})


def test_a_server_that_is_down_or_silent_is_given_up_in_time(silent_server: str) -> None:
    from lib.dicomweb.pacs import Pacs, PacsError

    began = time.monotonic()
    with pytest.raises(PacsError, match="did not answer in time"):
        Pacs(f"{silent_server}/dicom-web", search_s=0.3).series({"Modality": "MR"})
    with pytest.raises(PacsError, match="cannot be reached"):
        Pacs(f"http://127.0.0.1:{free_port()}/dicom-web").series({"Modality": "MR"})
    assert time.monotonic() - began < 5


def test_a_datastore_whose_server_is_down_starts_answers_503_and_says_why_in_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib.dicomweb import connect

    monkeypatch.setattr(connect.settings, "MONAI_LABEL_DATASTORE_CACHE_PATH", str(tmp_path))
    store = connect.open_dicomweb(f"http://127.0.0.1:{free_port()}/dicom-web/", {}, make_spec)
    for ask in (store.list_images, store.json, lambda: store.get_image_uri("1.2.3")):
        with pytest.raises(HTTPException) as refusal:
            ask()
        assert refusal.value.status_code == 503 and "cannot be reached" in refusal.value.detail
    assert store.status()["total"] == 0 and "cannot be reached" in store.status()["error"]


def series_of(folder: Path, name: str) -> None:
    data = np.random.default_rng(0).integers(1, 900, (12, 9, 5)).astype(np.int16)
    write_series(folder, data, AFFINE, name)


def test_copies_beyond_the_bound_go_unless_they_were_used_lately(tmp_path: Path) -> None:
    from lib.dicomweb.series_cache import IN_USE_S, SeriesCache

    cache = SeriesCache(tmp_path, limit_bytes=1000)
    for uid in ("1.1", "1.2"):
        cache.get_scan(uid, lambda folder, uid=uid: series_of(folder, uid))
    assert cache.scan("1.1") and cache.scan("1.2")
    long_ago = time.time() - IN_USE_S - 60
    for path in (tmp_path / "series/1.1").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    cache.get_scan("1.3", lambda folder: series_of(folder, "1.3"))
    assert [uid for uid in ("1.1", "1.2", "1.3") if (tmp_path / "series" / uid).exists()] == ["1.2", "1.3"]


def test_a_download_that_breaks_off_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    from lib.dicomweb.pacs import PacsError
    from lib.dicomweb.series_cache import SeriesCache

    cache = SeriesCache(tmp_path, limit_bytes=10**9)

    def broken(folder: Path) -> None:
        series_of(folder, "half")
        raise PacsError("broken off")

    with pytest.raises(PacsError):
        cache.get_scan("1.1", broken)
    assert cache.scan("1.1") is None and not list((tmp_path / "series/1.1").iterdir())
    assert cache.get_scan("1.1", lambda folder: series_of(folder, "whole")).is_file()


def test_what_is_no_scan_is_said_without_naming_folders_of_this_computer(tmp_path: Path) -> None:
    from lib.dicomweb.series_cache import SeriesCache

    cache = SeriesCache(tmp_path, limit_bytes=10**9)
    with pytest.raises(UnreadableImageError) as refusal:
        cache.get_scan("1.1", lambda folder: (folder / "notes.txt").write_text("none") and None)
    assert str(tmp_path) not in str(refusal.value.with_source("1.1"))


@pytest.mark.parametrize("uid", ["", "..", "../x", "1.2/../../x", "a", "1" * 65])
def test_names_that_are_no_identifiers_never_become_paths(tmp_path: Path, uid: str) -> None:
    from lib.dicomweb.series_cache import SeriesCache
    from lib.refusals import InvalidRequestError

    with pytest.raises(InvalidRequestError):
        SeriesCache(tmp_path, 1).get_instances(uid, lambda folder: None)


def test_mr_and_ct_are_searched_unless_something_else_is_wished() -> None:
    from lib.dicomweb.connect import searches

    assert searches(Settings(_env_file=None)) == [{"Modality": "MR"}, {"Modality": "CT"}]
    wished = Settings(_env_file=None, MONAI_LABEL_DICOMWEB_SEARCH_FILTER={"Modality": "CT"})
    assert searches(wished) == [{"Modality": "CT"}]
    two = Settings(
        _env_file=None, MONAI_LABEL_DICOMWEB_SEARCH_FILTER={"Modality": "MR, PT", "PatientID": "7"}
    )
    assert searches(two) == [{"PatientID": "7", "Modality": "MR"}, {"PatientID": "7", "Modality": "PT"}]
    everything = Settings(_env_file=None, MONAI_LABEL_DICOMWEB_SEARCH_FILTER={"PatientID": "7"})
    assert searches(everything) == [{"PatientID": "7"}]


@pytest.mark.parametrize("given", ["0", "-1", "nan", "much"])
def test_a_bound_that_is_none_is_refused(given: str) -> None:
    from lib.dicomweb.connect import open_dicomweb

    with pytest.raises(OptionError, match="dicomweb_cache_gb"):
        open_dicomweb("http://127.0.0.1/dicom-web", {"dicomweb_cache_gb": given}, make_spec)


def test_a_listing_that_breaks_off_half_way_goes_on_from_there(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    from lib.dicomweb.listing import PacsListing
    from lib.dicomweb.pacs import PacsError

    class SlowOnce:
        """Describes one of three SEGs, then fails once."""

        def __init__(self) -> None:
            self.asked: list[str] = []

        def series(self, search: dict[str, str]) -> list[Dataset]:
            found = []
            for uid in ("1.1", "1.2", "1.3") if search.get("Modality") == "SEG" else ():
                item = Dataset()
                item.SeriesInstanceUID, item.StudyInstanceUID = uid, "1"
                found.append(item)
            return found

        def metadata(self, study: str, series: str) -> list[Dataset]:
            self.asked.append(series)
            if self.asked == ["1.1", "1.2"]:
                raise PacsError("did not answer in time")
            return []

    pacs = SlowOnce()
    listing = PacsListing(pacs, [{"Modality": "MR"}], tmp_path / "record.json")
    with pytest.raises(PacsError):
        listing.get(0.0)
    listing._problem = None  # the moment in which the server is left alone is over
    assert listing.get(0.0).labels == {}
    assert pacs.asked == ["1.1", "1.2", "1.2", "1.3"]
