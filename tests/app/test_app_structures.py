"""Structures that a lesion touches, in the answers of a server with a parcellation, and of none without."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from html import escape
from pathlib import Path

import html5lib
import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import WeightsError
from strokelabel.inference.parcellate import Parcellator
from strokelabel.io import read_image
from strokelabel.metrics.lesion_structures import lesion_structures
from support import app_server
from support.app_scans import BIDS_SCAN, head, save
from support.app_server import Server, multipart
from support.sided_network import save_sided_model

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


@pytest.fixture(scope="module")
def parcellation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sided_model(tmp_path_factory.mktemp("sided") / "sided.safetensors")


@pytest.fixture(scope="module")
def informed(
    tmp_path_factory: pytest.TempPathFactory, bright_model: Path, parcellation: Path
) -> Iterator[Server]:
    """A server with a parcellation, on a scan of its own."""
    folder = tmp_path_factory.mktemp("informed")
    scan = folder / "studies/sub-07_T1w.nii.gz"
    scan.parent.mkdir()
    save(scan, head(1))
    conf = ("model", str(bright_model), "structures", str(parcellation))
    running = app_server.start(folder, scan.parent, *conf)
    yield running
    assert app_server.stop(running) == []


def test_an_answer_says_which_structures_the_lesion_touches_with_ml_and_shares(
    informed: Server, parcellation: Path
) -> None:
    scan = read_image(informed.studies / "sub-07_T1w.nii.gz")
    params, _, content = multipart(informed.infer("segment", "sub-07_T1w"))

    mask = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)
    parcellator = Parcellator.from_model(parcellation, "cpu")
    found = parcellator.parcellate(scan)
    expected = lesion_structures(
        mask, found.labels, parcellator.structures, scan.grid, found.intracranial_ml
    ).as_json()
    assert params["structures"] == {"model": {"name": "sided", "version": "1"}, **expected}
    assert expected["structures"] and expected["lesion_ml"] == pytest.approx(params["volume_ml"], abs=1e-3)
    assert any("thalamus" in line for line in params["structures"]["text"])

    again, _, _ = multipart(informed.infer("segment", "sub-07_T1w", threshold=0.9))
    assert again["cached"] and again["structures"]["lesion_ml"] == pytest.approx(again["volume_ml"], abs=1e-3)


def test_the_report_is_a_page_with_pictures_that_names_structures_and_no_folder_of_the_server(
    informed: Server,
) -> None:
    told, _, _ = multipart(informed.infer("segment", "sub-07_T1w"))
    params, name, page = multipart(informed.infer("segment", "sub-07_T1w", result="report"))
    assert name.endswith(".html") and params["result"] == "report" and params["cached"]
    text = page.decode()
    html5lib.HTMLParser(strict=True).parse(text)
    assert all(escape(line) in text for line in told["structures"]["text"])
    assert text.count("data:image/webp;base64,") == 3 and str(informed.studies) not in text
    assert "<h1>sub-07_T1w</h1>" in text and f"{told['volume_ml']:.1f} ml" in text


def test_maps_and_those_who_ask_for_none_get_no_structures(informed: Server) -> None:
    config = informed.get("/info/").json()["models"]["segment"]["config"]
    assert config["structures"] is True
    for options in ({"structures": False}, {"result": "probability"}):
        params, _, _ = multipart(informed.infer("segment", "sub-07_T1w", **options))
        assert "structures" not in params


def test_a_server_without_a_parcellation_says_nothing_of_structures(server: Server) -> None:
    params, _, _ = multipart(server.infer("segment", BIDS_SCAN, structures=True))
    assert "structures" not in params
    assert "structures" not in server.get("/info/").json()["models"]["segment"]["config"]


def test_only_a_named_model_that_cannot_be_used_keeps_a_server_from_starting(
    tmp_path: Path, bright_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lib.infers.structures import StructureFinder

    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path))
    shipped = StructureFinder.configured(None)
    assert shipped is not None and len(shipped.structures) == 33
    assert StructureFinder.configured("none") is None
    with pytest.raises(WeightsError, match="expected a model that parcellates, to find structures"):
        StructureFinder.configured(str(bright_model))
    installed = tmp_path / "weights/synthseg/model.safetensors"
    installed.parent.mkdir(parents=True)
    installed.write_bytes(b"damaged")
    assert StructureFinder.configured(None) is None
    assert "Answers have no table of structures" in caplog.text
    save_sided_model(installed)
    finder = StructureFinder.configured(None)
    assert finder is not None and finder.spec.path == installed
