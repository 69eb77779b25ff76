"""A real PACS behind a real server: series come by DICOMweb, labels go as DICOM SEG and come back."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests

from strokelabel.io import read_image
from strokelabel.io.dicom.segmentation import DicomSource, SegOrigin, write_dicom_seg
from strokelabel.metrics import dice
from support import app_server
from support.app_scans import head, lesion, oblique_affine
from support.app_server import Server, multipart
from support.bright_network import centred_affine, make_spec, rotation
from support.dicom_writer import write_series
from support.orthanc_server import Orthanc, start_orthanc

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("orthanc")]

SAGITTAL_SHAPE = (33, 41, 22)
SAGITTAL = centred_affine(
    rotation((0, 5, 9)) @ np.array([[0, 0, 2.9], [-1.7, 0, 0], [0, -1.5, 0]]), SAGITTAL_SHAPE
)


class Pacs:
    """Orthanc with two series of heads of one patient."""

    def __init__(self, orthanc: Orthanc, folder: Path) -> None:
        self.orthanc, self.folder = orthanc, folder
        self.oblique = self._add("T2 oblique", head(1), oblique_affine())
        self.sagittal = self._add("T1 sagittal", head(3, SAGITTAL_SHAPE, SAGITTAL), SAGITTAL)

    def series_folder(self, uid: str) -> Path:
        return self.folder / uid

    def _add(self, name: str, data: np.ndarray, affine: np.ndarray) -> str:
        files = write_series(self.folder / name, data.astype(np.int16), affine, name)
        uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
        (self.folder / name).rename(self.series_folder(uid))
        self.orthanc.upload(*self.series_folder(uid).iterdir())
        return uid


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    orthanc = start_orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        yield Pacs(orthanc, tmp_path_factory.mktemp("series"))
    finally:
        orthanc.stop()


@pytest.fixture(scope="module")
def pacs_server(pacs: Pacs, tmp_path_factory: pytest.TempPathFactory, bright_model: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    running = app_server.start(folder, pacs.orthanc.dicomweb, "model", str(bright_model))
    yield running
    assert app_server.stop(running) == []


def nifti(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def voxels(content: bytes) -> np.ndarray:
    return np.asarray(nifti(content).dataobj)


def segs_of(pacs: Pacs, series: str, description: str = "") -> list[pydicom.Dataset]:
    return [
        seg
        for seg in pacs.orthanc.segs()
        if seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series
        and description in seg.get("ContentDescription", "")
    ]


def put_label(
    server: Server, image: str, labels: np.ndarray, tag: str = "final", **params: Any
) -> requests.Response:
    scan = nifti(server.get("/datastore/image", params={"image": image}).content)
    content = gzip.compress(nib.Nifti1Image(labels.astype(np.uint8), scan.affine).to_bytes())
    return server.put(
        "/datastore/label",
        params={"image": image, "tag": tag},
        data={"params": json.dumps(params)},
        files={"label": ("label.nii.gz", content)},
    )


def get_label(server: Server, image: str, tag: str = "final") -> np.ndarray:
    answer = server.get("/datastore/label", params={"label": image, "tag": tag})
    assert answer.status_code == 200, answer.text
    return voxels(answer.content)


def test_ohif_searches_reads_and_stores_through_the_server(pacs: Pacs, pacs_server: Server) -> None:
    found = pacs_server.get("/proxy/dicom/qido/studies").json()
    study = found[0]["0020000D"]["Value"][0]
    series = f"/proxy/dicom/wado/studies/{study}/series/{pacs.oblique}"
    metadata = pacs_server.get(f"{series}/metadata").json()
    assert len(metadata) == len(list(pacs.series_folder(pacs.oblique).iterdir()))
    whole = pacs_server.get(series, headers={"Accept": 'multipart/related; type="application/dicom"'})
    assert whole.status_code == 200 and whole.headers["Content-Type"].startswith("multipart/related")

    stored = pydicom.dcmread(next(pacs.series_folder(pacs.oblique).iterdir()))
    stored.SOPInstanceUID = stored.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    stored.SeriesInstanceUID, stored.StudyInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    stored.Rows, stored.Columns = 1200, 1100
    stored.PixelData = np.arange(1200 * 1100, dtype=np.uint16).tobytes()  # 2.6 MB: more than a small request
    content = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(content, stored)
    body = (
        b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + content.parent.getvalue() + b"\r\n--cut--\r\n"
    )
    answer = pacs_server.post(
        "/proxy/dicom/stow/studies",
        data=body,
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut'},
    )
    assert answer.status_code == 200, answer.text
    ids = requests.post(f"{pacs.orthanc.url}/tools/lookup", data=stored.SOPInstanceUID, timeout=30).json()
    assert [found["Type"] for found in ids] == ["Instance"]
    requests.delete(f"{pacs.orthanc.url}/instances/{ids[0]['ID']}", timeout=30).raise_for_status()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def completed(server: Server) -> int:
    objects = server.get("/datastore/?output=all").json()["objects"]
    return sum("final" in entry["labels"] for entry in objects.values())


def assert_frames_lie_on_their_instances(seg: pydicom.Dataset, folder: Path, mask: np.ndarray) -> None:
    """Position, orientation and pixels of each frame against its source instance; read by pydicom alone."""
    image = read_image(folder)
    sources = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, folder.iterdir())}
    shared = seg.SharedFunctionalGroupsSequence[0]
    seen = np.zeros_like(mask)
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        reference = groups.DerivationImageSequence[0].SourceImageSequence[0]
        source = sources[reference.ReferencedSOPInstanceUID]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert position == source.ImagePositionPatient
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing
        ras = np.diag([-1, -1, 1]) @ np.array(position, float)
        k = round(float((np.linalg.inv(image.affine) @ [*ras, 1])[2]))
        seen[:, :, k] = pixels.T
    assert np.array_equal(seen, mask)


def test_the_series_of_the_pacs_are_listed_by_their_identifiers(pacs: Pacs, pacs_server: Server) -> None:
    objects = pacs_server.get("/datastore/?output=all").json()["objects"]
    assert set(objects) == {pacs.oblique, pacs.sagittal}
    info = objects[pacs.oblique]["image"]["info"]
    assert (info["Modality"], info["SeriesDescription"], info["PatientID"]) == ("MR", "T2 oblique", "test")
    assert pacs_server.get("/info/").json()["datastore"]["total"] == 2
    assert pacs_server.post("/activelearning/first", json={}).json()["id"] in objects


def test_nothing_is_downloaded_when_the_server_starts(pacs_server: Server) -> None:
    programs = pacs_server.log.parent / "monailabel_app" / "bin"  # where MONAI Label puts dcmqi
    assert not list(programs.glob("*"))


def test_a_series_comes_on_the_grid_that_our_reader_gives(pacs: Pacs, pacs_server: Server) -> None:
    for uid in (pacs.oblique, pacs.sagittal):
        image = read_image(pacs.series_folder(uid))
        answer = nifti(pacs_server.get("/datastore/image", params={"image": uid}).content)
        assert np.array_equal(np.asarray(answer.dataobj), image.data)
        assert np.allclose(answer.affine, image.affine, atol=1e-4)


def test_a_series_is_segmented_and_the_mask_lies_where_the_lesion_is(pacs: Pacs, pacs_server: Server) -> None:
    params, _, content = multipart(pacs_server.infer("segment", pacs.oblique))
    answer = nifti(content)
    truth = lesion(1)
    # the reader's k axis follows the slice normal, which may run against that of the phantom
    turn = np.linalg.inv(answer.affine) @ oblique_affine()
    found = np.asarray(answer.dataobj)
    assert dice(truth[:, :, ::-1] if turn[2, 2] < 0 else truth, found) > 0.8
    assert params["label_names"] == {"lesion": 1}


def test_an_answer_as_dicom_seg_says_infarct_and_lies_on_the_source_instances(
    pacs: Pacs, pacs_server: Server, tmp_path: Path
) -> None:
    for uid in (pacs.oblique, pacs.sagittal):
        mask = voxels(pacs_server.infer("segment", uid, "image").content)
        answer = pacs_server.infer("segment", uid, "dicom_seg")
        assert answer.headers["content-type"] == "application/dicom"
        (tmp_path / "seg.dcm").write_bytes(answer.content)
        seg = hd.seg.segread(str(tmp_path / "seg.dcm"))
        assert seg.segmented_property_types[0].value == "55641003"
        assert seg.segmented_property_categories[0].value == "49755003"
        assert seg.NumberOfFrames == np.count_nonzero(mask.any(axis=(0, 1)))
        assert_frames_lie_on_their_instances(
            pydicom.dcmread(tmp_path / "seg.dcm"), pacs.series_folder(uid), mask
        )
    kept = ("*.dcm", "tmp*.nii.gz")  # removed once the answer is sent
    assert eventually(lambda: not any(list(pacs_server.temporary.glob(name)) for name in kept))


def test_tissues_as_dicom_seg_are_segments_of_their_own(
    pacs: Pacs, pacs_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "seg.dcm").write_bytes(
        pacs_server.infer("segment_tissues", pacs.oblique, "dicom_seg").content
    )
    seg = hd.seg.segread(str(tmp_path / "seg.dcm"))
    meanings = [concept.meaning for concept in seg.segmented_property_types]
    assert meanings == ["Gray Matter", "Brain", "White Matter", "Cerebrospinal Fluid", "Infarct"]


def test_a_prediction_that_is_kept_is_an_automatic_seg_in_the_pacs(pacs: Pacs, pacs_server: Server) -> None:
    mask = voxels(pacs_server.infer("segment", pacs.sagittal, "image", save_label=True).content)
    (seg,) = segs_of(pacs, pacs.sagittal, "original")
    (segment,) = seg.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "bright 1"
    assert_frames_lie_on_their_instances(seg, pacs.series_folder(pacs.sagittal), mask)
    assert np.array_equal(get_label(pacs_server, pacs.sagittal, "original"), mask)
    assert "final" not in pacs_server.get("/datastore/?output=all").json()["objects"][pacs.sagittal]["labels"]


def test_a_submitted_label_is_a_seg_in_the_pacs_and_the_newest_comes_back(
    pacs: Pacs, pacs_server: Server, rng: np.random.Generator
) -> None:
    first, second = (rng.random(head(1).shape) < 0.1 for _ in range(2))
    before = completed(pacs_server)
    for labels in (first, second):
        answer = put_label(pacs_server, pacs.oblique, labels, label_info=[{"name": "lesion", "idx": 1}])
        assert answer.json() == {"image": pacs.oblique, "label": pacs.oblique}
        assert np.array_equal(get_label(pacs_server, pacs.oblique), labels)
    segs = segs_of(pacs, pacs.oblique, "final")
    assert len(segs) == 2 and {s.SegmentSequence[0].SegmentAlgorithmType for s in segs} == {"SEMIAUTOMATIC"}
    newest = max(segs, key=lambda seg: (seg.ContentDate, seg.ContentTime))
    assert_frames_lie_on_their_instances(newest, pacs.series_folder(pacs.oblique), second)
    assert completed(pacs_server) == before + 1
    pairs = pacs_server.get("/datastore/?output=train").json()
    assert any(pacs.oblique in pair["image"] and pacs.oblique in pair["label"] for pair in pairs)
    info = pacs_server.get("/datastore/label/info", params={"label": pacs.oblique, "tag": "final"}).json()
    assert info["label_info"] == [{"name": "lesion", "idx": 1}]
    assert info["SeriesInstanceUID"] == newest.SeriesInstanceUID


def test_an_empty_label_is_a_result_too(pacs: Pacs, pacs_server: Server) -> None:
    empty = np.zeros(SAGITTAL_SHAPE, np.uint8)
    assert put_label(pacs_server, pacs.sagittal, empty, "reviewed").status_code == 200
    (seg,) = segs_of(pacs, pacs.sagittal, "reviewed")
    assert seg.NumberOfFrames == SAGITTAL_SHAPE[2] and not seg.pixel_array.any()
    assert not get_label(pacs_server, pacs.sagittal, "reviewed").any()


def test_labels_as_ohif_sends_them_are_taken_in_the_order_of_the_scan(
    pacs: Pacs, pacs_server: Server, rng: np.random.Generator
) -> None:
    labels = (rng.random(SAGITTAL_SHAPE) < 0.2).astype(np.uint8)
    where = {"image": pacs.sagittal, "tag": "ohif"}
    file = {"label": ("label.bin", labels.tobytes(order="F"))}
    assert pacs_server.put("/datastore/label", params=where, files=file).status_code == 200
    assert np.array_equal(get_label(pacs_server, pacs.sagittal, "ohif"), labels)
    short = {"label": ("label.bin", labels.tobytes()[:-1])}
    assert pacs_server.put("/datastore/label", params=where, files=short).status_code == 400


def test_a_lesion_that_another_program_stored_is_a_final_label(
    pacs: Pacs, pacs_server: Server, tmp_path: Path, rng: np.random.Generator
) -> None:
    assert put_label(pacs_server, pacs.oblique, lesion(1)).status_code == 200
    labels = (rng.random(SAGITTAL_SHAPE) < 0.2).astype(np.uint8)
    source = DicomSource(pacs.series_folder(pacs.sagittal))
    seg = write_dicom_seg(tmp_path / "seg.dcm", labels, source, SegOrigin("other", "1"))
    seg.Manufacturer, seg.ContentDescription = "Some Viewer", "by hand"
    seg.SegmentSequence[0].SegmentLabel = "Segment_1"
    seg.save_as(tmp_path / "seg.dcm")
    pacs.orthanc.upload(tmp_path / "seg.dcm")
    assert eventually(lambda: completed(pacs_server) == 2)
    assert np.array_equal(get_label(pacs_server, pacs.sagittal), labels)


def test_another_server_without_any_copy_finds_the_labels_again(
    pacs: Pacs, pacs_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from lib.dicomweb import connect

    labels = rng.random(head(1).shape) < 0.1
    assert put_label(pacs_server, pacs.oblique, labels).status_code == 200
    monkeypatch.setattr(connect.settings, "MONAI_LABEL_DATASTORE_CACHE_PATH", str(tmp_path))
    for _ in range(2):  # without and with its record of SEGs
        store = connect.open_dicomweb(pacs.orthanc.dicomweb, {}, make_spec)
        assert pacs.oblique in store.get_labeled_images()
        copy = nib.load(store.get_label_uri(pacs.oblique, "final"))
        assert np.array_equal(np.asarray(copy.dataobj), labels)
        assert store.get_labels_by_image_id(pacs.oblique)["final"] == pacs.oblique


def test_what_cannot_be_done_is_refused_with_a_sentence(
    pacs: Pacs, pacs_server: Server, tmp_path: Path
) -> None:
    def refusal(answer: requests.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["detail"]

    assert refusal(pacs_server.infer("segment", "1.2.3"))[0] == 404
    assert refusal(put_label(pacs_server, pacs.oblique, head(1)[1:] > 200))[0] == 400
    two_values = np.where(head(1) > 200, 3, 0)
    two_values[: len(two_values) // 2][two_values[: len(two_values) // 2] > 0] = 4
    unnamed = refusal(
        put_label(pacs_server, pacs.oblique, two_values, label_info=[{"name": "lesion", "idx": 1}])
    )
    assert unnamed[0] == 400 and "3" in unnamed[1] and "4" in unnamed[1]
    assert refusal(put_label(pacs_server, pacs.oblique, head(1) > 200, "x" * 60))[0] == 400
    upload = pacs_server.put("/datastore/image?image=a", files={"file": ("a.nii.gz", b"1")})
    assert refusal(upload)[0] == 400 and "PACS" in upload.json()["detail"]
    assert (
        refusal(pacs_server.delete("/datastore/label", params={"id": pacs.oblique, "tag": "final"}))[0] == 400
    )
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    file = pacs_server.infer("segment", "", "dicom_seg", file=tmp_path / "a.nii.gz")
    assert refusal(file)[0] == 400 and "DICOMweb" in file.json()["detail"]


def test_a_pacs_that_goes_down_is_told_of_and_the_server_lives_on(pacs_server: Server, pacs: Pacs) -> None:
    """Last in this file: it stops Orthanc."""
    assert pacs_server.get("/datastore/image", params={"image": pacs.oblique}).status_code == 200
    assert put_label(pacs_server, pacs.oblique, lesion(1)).status_code == 200
    assert get_label(pacs_server, pacs.oblique).any()
    pacs.orthanc.stop()
    assert eventually(lambda: pacs_server.get("/datastore/?output=all").status_code == 503)
    answer = put_label(pacs_server, pacs.oblique, head(1) > 200)
    assert answer.status_code == 503 and "cannot be reached" in answer.json()["detail"]
    assert pacs_server.infer("segment", pacs.oblique).status_code == 200  # of the copy
    datastore = pacs_server.get("/info/").json()["datastore"]
    assert datastore["total"] == 2 and "cannot be reached" in datastore["error"]
