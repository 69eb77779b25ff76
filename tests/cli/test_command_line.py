"""The command line starts fast, and its errors are lines, not tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strokelabel.cli import main as cli
from strokelabel.errors import StrokeLabelError


def run_main(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(args))
    return stop.value.code


def test_help_lists_every_command_without_importing_torch() -> None:
    script = (
        "import sys\n"
        "from strokelabel.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'torch', 'monai', 'nibabel', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["info"], 0), (["predict", "--wrong"], 2), (["wrong"], 2), (["predict"], 2)]
)
def test_models_and_refusals_of_arguments_need_neither_torch_nor_numpy(
    arguments: list[str], code: int
) -> None:
    script = (
        "import sys\n"
        "from strokelabel.cli.main import main\n"
        f"try:\n    main({arguments!r})\n"
        f"except SystemExit as stop:\n    assert stop.code == {code}\n"
        "assert not {'torch', 'monai', 'nibabel', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


NOT_INSTALLED = ("torch", "monai", "pandas", "matplotlib", "sklearn", "nilearn", "SimpleITK", "highdicom")


def without_extras(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Call the program where the packages of the extras are not found."""
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({NOT_INSTALLED!r}))\n"
        "from strokelabel.cli.main import main\n"
        f"main({[str(argument) for argument in arguments]!r})\n"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_a_lesion_is_segmented_where_only_the_plain_packages_are(tmp_path: Path) -> None:
    scan = Path(__file__).parents[2] / "sample-data/sub-03/anat/sub-03_FLAIR.nii.gz"
    done = without_extras("predict", scan, "-o", tmp_path, "--structures", "synthseg")
    assert done.returncode == 0, done.stderr
    assert " ml in " in done.stdout and (tmp_path / "lesion_structures.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "base", "-o", "run"], "train"),
        (["export", "run", "-o", "m.safetensors", "--recipe", "base", "--version", "1"], "train"),
        (["predict", ".", "-o", "out", "--adapt", "tent"], "train"),
    ],
    ids=["train", "export", "adapt"],
)
def test_a_command_without_its_packages_names_the_extra_in_one_line(arguments: list[str], extra: str) -> None:
    done = without_extras(*arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and f'pip install "strokelabel[{extra}]"' in line


def test_an_unknown_command_is_wrong_usage_and_the_nearest_one_is_proposed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main("predikt") == 2
    assert "'predict'" in capsys.readouterr().err


def test_a_command_whose_module_is_missing_fails_only_when_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "ghost", ("strokelabel.cli.ghost", "Not there."))
    assert run_main("--help") == 0
    assert "ghost" in capsys.readouterr().out
    assert run_main("ghost") == 1
    assert capsys.readouterr().err.startswith("error: the command 'ghost' needs")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [(StrokeLabelError("this is wrong"), 1, "error: this is wrong\n"), (KeyboardInterrupt(), 130, "")],
)
def test_errors_of_ours_are_one_line_and_an_interruption_has_its_own_code(
    raised: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> None:
        raise raised

    module = type(sys)("strokelabel.cli.failing")
    module.run = run
    monkeypatch.setitem(sys.modules, "strokelabel.cli.failing", module)
    monkeypatch.setitem(cli.COMMANDS, "failing", ("strokelabel.cli.failing", "Fails."))
    assert run_main("failing") == code
    assert capsys.readouterr().err == line


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("--version") == 0
    assert capsys.readouterr().out.startswith("strokelabel ")


def test_names_in_any_letters_are_read_where_the_locale_knows_ascii_alone() -> None:
    command = [sys.executable, "-m", "strokelabel.cli.main", "predikt-Jérôme-脳"]
    ascii_only = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, env=os.environ | ascii_only, check=False)
    assert done.returncode == 2
    assert "predikt-Jérôme-脳" in done.stderr.decode("utf-8")
