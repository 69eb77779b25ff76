"""Tables as editors and spreadsheet programs save them are read, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from strokelabel.errors import DataError, OptionError, OutputError, StrokeLabelError
from strokelabel.io.tables import read_table
from strokelabel.reports.evaluation.cases import read_pairs
from strokelabel.reports.evaluation.results import COLUMNS, read_results

TEXT = "image\treference\tname\na.nii.gz\tm.nii.gz\tJérôme 脳\nb.nii\tn.nii\t\n"

WRITTEN = {
    "plain": TEXT.encode(),
    "with a mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16 of Windows": TEXT.encode("utf-16"),
    "UTF-16 the other way": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "commas": TEXT.replace("\t", ",").encode(),
    "semicolons of a German Excel": TEXT.replace("\t", ";").encode("utf-8-sig"),
    "Windows lines and blank ones": (TEXT.replace("\n", "\r\n") + "\r\n\t\t\r\n").encode(),
    "old Macintosh lines": TEXT.replace("\n", "\r").encode(),
    "quotes": TEXT.replace("a.nii.gz", '"a.nii.gz"').encode(),
    "empty columns behind": TEXT.replace("\n", "\t\t\n").encode(),
    "a line that ends early": TEXT.replace("\t\n", "\n").encode(),
    "blanks": TEXT.replace("\t", " \t ").encode(),
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("name", ["cases.tsv", "cases.csv", "cases.txt"])
def test_a_table_says_the_same_however_it_was_saved(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(WRITTEN[kind])
    table = read_table(tmp_path / name)
    assert table.columns == ["image", "reference", "name"]
    assert table.rows == [
        {"image": "a.nii.gz", "reference": "m.nii.gz", "name": "Jérôme 脳"},
        {"image": "b.nii", "reference": "n.nii", "name": ""},
    ]
    assert [case.name for case in read_pairs(tmp_path / name)] == ["Jérôme 脳", "b"]


REFUSED = {
    "Windows-1252": (
        TEXT.replace(" 脳", "").encode("cp1252"),
        "found another encoding; save it as CSV UTF-8",
    ),
    "Excel's own": (b"PK\x03\x04" + bytes(40), "the file of a spreadsheet program; save it as CSV UTF-8"),
    "an old Excel's own": (b"\xd0\xcf\x11\xe0" + bytes(40), "the file of a spreadsheet program"),
    "UTF-16 without a mark": ("name\treference\n".encode("utf-16-le"), "found zero bytes in it"),
    "half of UTF-16": (TEXT.encode("utf-16")[:-1], "found another encoding"),
    "too many cells": (b"reference\tname\na\tb\tc\n", "expected 2 cells in line 2, found 3"),
    "an endless cell": (b'reference\n"' + b"x" * 200_000, "which cannot be read"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_refused_by_name_wherever_it_is_read(tmp_path: Path, kind: str) -> None:
    content, sentence = REFUSED[kind]
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    for read, error in ((read_table, DataError), (read_pairs, OptionError), (read_results, OutputError)):
        with pytest.raises(error) as refused:
            read(path)
        assert sentence in str(refused.value) and str(path) in str(refused.value)
        assert isinstance(refused.value, StrokeLabelError) and "\n" not in str(refused.value)


def test_a_missing_table_is_an_error_of_its_reader(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        read_pairs(tmp_path / "none.tsv")


def test_results_that_excel_saved_are_read(tmp_path: Path) -> None:
    row = dict.fromkeys(COLUMNS, "") | {"case": "Zoë", "method": "ours", "status": "failed", "reason": "a; b"}
    lines = "\r\n".join(",".join(cells) for cells in (COLUMNS, row.values()))
    (tmp_path / "cases.csv").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    (found,) = read_results(tmp_path / "cases.csv")
    assert (found.case, found.status, found.reason) == ("Zoë", "failed", "a; b")
