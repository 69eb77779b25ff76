"""The command line starts fast, and its errors are lines, not tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys

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
        "assert not {'torch', 'monai', 'nibabel'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS)


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
