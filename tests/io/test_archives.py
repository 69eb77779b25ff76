"""Archives are unpacked within limits, never outside their folder, and stand for the scans in them."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from strokelabel.errors import ImageError, UnreadableImageError
from strokelabel.io import read_image, read_label_image, search_images
from strokelabel.io.archives import (
    ArchiveError,
    ArchiveTooLargeError,
    UnknownArchiveError,
    split_archive,
    unpack,
    unpacked,
)
from support.dicom_writer import write_series
from support.image_formats import WRITERS, rigid_affine


def zipped(path, files):
    """An archive of files by their names in it; content as bytes or a path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


def series_files(folder, data, name):
    return {
        f"study/{name}/{file.name}": file.read_bytes()
        for file in write_series(folder / name, data - data % 2, rigid_affine(), name)
    }


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_scan_of_an_archive_is_read_whatever_its_format(tmp_path, scan, suffix):
    (tmp_path / "in").mkdir()
    WRITERS[suffix](tmp_path / "in" / f"sub-01_T1w{suffix}", scan, rigid_affine())
    files = {f"anat/{file.name}": file for file in (tmp_path / "in").iterdir()}
    archive = zipped(tmp_path / "study.zip", {**files, "anat/readme.txt": b"text", "__MACOSX/._x": b"x"})
    (found,) = search_images([archive]).images
    assert found.parent == archive / "anat" and found.name.startswith("sub-01_T1w.")
    for path in (archive, found):
        image = read_image(path)
        np.testing.assert_array_equal(image.data, scan)
        assert image.source == str(path)
    np.testing.assert_array_equal(read_label_image(found).data, scan)


def test_the_only_series_of_an_archive_is_named_by_the_archive(tmp_path, scan):
    archive = zipped(tmp_path / "export.zip", series_files(tmp_path, scan, "T2"))
    assert search_images([archive]).images == [archive]
    np.testing.assert_array_equal(np.sort(read_image(archive).data, None), np.sort(scan - scan % 2, None))


def test_each_series_of_an_archive_is_a_scan(tmp_path, scan):
    files = series_files(tmp_path, scan, "T1") | series_files(tmp_path, scan // 2, "T2")
    flat = zipped(
        tmp_path / "flat.zip", {f"all/{name.rpartition('/')[2]}": data for name, data in files.items()}
    )
    nested = zipped(tmp_path / "nested.zip", files)
    assert search_images([nested]).images == [nested / "study" / "T1", nested / "study" / "T2"]
    first, second = search_images([flat]).images
    assert first.parent == second.parent == flat / "all"
    expected = sorted(float((scan // d - scan // d % 2).sum()) for d in (1, 2))
    for paths in ((first, second), search_images([nested]).images):
        assert sorted(float(read_image(path).data.sum()) for path in paths) == expected
    with pytest.raises(UnreadableImageError, match=r"one scan in the archive, found 2: .*flat\.zip/all/"):
        read_image(flat)


def test_a_tar_is_an_archive_too(tmp_path, scan):
    path = WRITERS[".nii.gz"](tmp_path / "a.nii.gz", scan, rigid_affine())
    for name, mode in (("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tgz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(path, "a.nii.gz")
        np.testing.assert_array_equal(read_image(tmp_path / name).data, scan)


def test_archives_are_found_by_patterns_and_not_in_folders(tmp_path, scan):
    path = WRITERS[".nii"](tmp_path / "a.nii", scan, rigid_affine())
    archive = zipped(tmp_path / "b.zip", {"b.nii": path})
    assert search_images([f"{tmp_path}/*.zip"]).images == [archive / "b.nii"]
    assert search_images([tmp_path]).images == [path]


def test_masks_alone_in_an_archive_are_said_by_the_archives_name(tmp_path, scan):
    path = WRITERS[".nii"](tmp_path / "a_mask.nii", scan, rigid_affine())
    search = search_images([zipped(tmp_path / "b.zip", {"a_mask.nii": path})])
    assert not search.images and [str(tmp_path / "b.zip") in str(one) for one in search.problems] == [True]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.nii",
        "/etc/evil",
        "a/../../evil",
        "C:\\evil.nii",
        "..\\evil.nii",
        "a\nb",
        "x" * 300,
        "a/" * 600 + "x",
    ],
)
def test_names_that_lead_outside_are_refused_and_nothing_is_written_there(tmp_path, name):
    (tmp_path / "out").mkdir()
    archive = zipped(tmp_path / "evil.zip", {name: b"x"})
    with pytest.raises(ArchiveError, match="plain, relative names") as error:
        unpack(archive, tmp_path / "out")
    assert str(archive) in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "evil.zip"}
    assert not any((tmp_path / "out").iterdir())
    with pytest.raises(ArchiveError, match="plain, relative names"):
        read_image(archive)


def test_a_file_in_the_place_of_a_folder_and_twice_the_same_name_are_refused(tmp_path):
    for names in (["a", "a/b"], ["a", "./a"]):
        (tmp_path / "".join(names).replace("/", "_").replace(".", "")).mkdir()
        archive = tmp_path / "x.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.writestr(name, b"x")
        with pytest.raises(ArchiveError, match="unique, plain"):
            unpack(archive, tmp_path / "".join(names).replace("/", "_").replace(".", ""))


def test_links_are_refused(tmp_path):
    archive = tmp_path / "link.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        link = zipfile.ZipInfo("scan.nii")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    tar = tmp_path / "link.tar"
    with tarfile.open(tar, "w") as opened_tar:
        info = tarfile.TarInfo("scan.nii")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened_tar.addfile(info)
    for path in (archive, tar):
        with pytest.raises(ArchiveError, match="a link or device"):
            read_image(path)


def test_more_bytes_or_files_than_the_limit_are_not_written(tmp_path, monkeypatch):
    bomb = zipped(tmp_path / "bomb.zip", {"a.nii": bytes(3_000_000)})
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveTooLargeError, match="at most 1 MB unpacked"):
        unpack(bomb, tmp_path / "out", most_bytes=2**20)
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*")) <= 2**20
    monkeypatch.setattr("strokelabel.io.archives.MOST_FILES", 3)
    many = zipped(tmp_path / "many.zip", {f"{n}.txt": b"" for n in range(4)})
    with pytest.raises(ArchiveTooLargeError, match="at most 3 files"):
        unpack(many, tmp_path / "out")


def test_broken_archives_are_told(tmp_path, scan):
    path = WRITERS[".nii"](tmp_path / "a.nii", scan, rigid_affine())
    whole = zipped(tmp_path / "a.zip", {"a.nii": path}).read_bytes()
    spoilt = bytearray(whole)
    spoilt[200] ^= 0xFF
    cases = {
        b"text": (UnknownArchiveError, "another kind"),
        whole[: len(whole) // 2]: (UnknownArchiveError, "another kind"),
        bytes(spoilt): (ArchiveError, "corrupt or encrypted"),
        zip_of_nothing(): (ArchiveError, "expected files in the archive, found none"),
    }
    for content, (kind, match) in cases.items():
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(kind, match=match) as error:
            read_image(tmp_path / "x.zip")
        assert search_images([tmp_path / "x.zip"]).images == [tmp_path / "x.zip"]
        assert isinstance(error.value, ImageError) and str(tmp_path / "x.zip") in str(error.value)


def zip_of_nothing():
    content = io.BytesIO()
    zipfile.ZipFile(content, "w").close()
    return content.getvalue()


def test_an_archive_without_scans_and_a_wrong_path_into_one_are_told(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"notes.txt": b"text", "more.txt": b"text"})
    with pytest.raises(UnreadableImageError, match="no DICOM image") as error:
        read_image(archive)
    assert str(error.value).startswith(str(archive))
    with pytest.raises(ArchiveError, match=r"expected 'b\.nii' in the archive, found none|found none"):
        read_image(archive / "b.nii")


def test_unpacked_files_are_removed_and_other_paths_left_alone(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"x/notes.txt": b"text"})
    with unpacked(archive / "x" / "notes.txt") as place:
        assert place.read_bytes() == b"text" and not place.is_relative_to(tmp_path)
    assert not place.exists()
    with unpacked(tmp_path) as place:
        assert place == tmp_path
    folder = tmp_path / "folder.zip"
    folder.mkdir()
    assert split_archive(folder / "x") is None and split_archive(archive) is not None
