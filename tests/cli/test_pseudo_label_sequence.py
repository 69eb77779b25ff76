"""The commands of training/docs/pseudo-labels.md, from prediction through review to training, as the page has them."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from strokelabel.cli import main as cli
from strokelabel.fit.pseudo_labels.record import read_pseudo_labels
from strokelabel.fit.recipe import load_recipe
from support.code_blocks import REPOSITORY
from support.template_cohort import write_template_cohort

PAGE = REPOSITORY / "training" / "docs" / "pseudo-labels.md"
SMALL = {
    "train": ["--fast-dev-run", "--device", "cpu"],
    "pseudo-label": ["--no-tta", "--device", "cpu"],
    "evaluate": ["--device", "cpu"],
}
"""Options that make a command of the page quick; what it does stays."""


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def commands() -> list[list[str]]:
    """Return the words of each command of the page's sequence."""
    found = re.search(
        r"<!-- sequence -->\n```bash\n(.*?)```\n<!-- end of sequence -->", PAGE.read_text(), re.DOTALL
    )
    assert found, f"{PAGE}: expected a sequence of commands"
    return [words for line in found[1].splitlines() if (words := shlex.split(line, comments=True))]


def review(table: Path) -> None:
    """Fill in the column `review`, as a person would in an editor."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["review"] for row in rows] == ["pseudo"]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"review": "accepted"} for row in rows)


def test_the_sequence_of_the_page_leads_from_a_cohort_to_a_model_trained_on_its_reviewed_masks(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prepared").symlink_to(prepared_folder, target_is_directory=True)
    write_template_cohort(tmp_path / "COHORT")
    write_template_cohort(tmp_path / "TEST", with_mask=True)
    for program, *words in commands():
        if program == "cp":
            shutil.copyfile(*words)
            review(Path(words[1]))
            continue
        with pytest.raises(SystemExit) as stop:
            cli.main([*words, *SMALL.get(words[0], [])])
        assert not stop.value.code, " ".join(words)
    (label,) = read_pseudo_labels(tmp_path / "pseudo-labels")
    assert label.status == "accepted" and (tmp_path / "pseudo-labels" / "review-01.png").exists()
    trained = load_recipe("runs/pseudo/recipe.yaml").pseudo_labels
    assert trained is not None and trained.folder == (tmp_path / "pseudo-labels").resolve()
    summary = (tmp_path / "evaluation" / "summary.md").read_text()
    assert "synth" in summary and "pseudo" in summary
