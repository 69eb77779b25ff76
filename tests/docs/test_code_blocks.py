"""Every code block of the READMEs and pages holds: Python runs, command lines are understood, recipes are valid."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperCommand

import strokelabel.api
from strokelabel.cli.main import COMMANDS, load_command
from strokelabel.fit.recipe import load_recipe
from support.code_blocks import INDENTED, REPOSITORY, Block, blocks, command_lines, documents, mentions
from support.sided_network import save_sided_model
from support.tiny_quality import save_quality_model

NOT_PYTHON = {
    "slicer_extension/README.md": "needs a view of 3D Slicer; tests/slicer_extension/test_presenter.py does the same"
}
"""Files whose Python blocks are not executed, and why."""

NOT_CODE = {
    "mermaid": "a diagram",
    "": "output of a program, names of files",
}
"""Languages of blocks that are not executed, and why."""

NOT_CHECKED = {
    "tensorboard": "another project's program; an address of its own is all that is told to it",
    "pip": "needs a package index",
    "printf": "the shell's own",
    "cp": "the shell's own",
    "for": "the shell's own",
    "done": "the shell's own",
    "bash": "runs a script that the command before it writes; tests/fit/offline_training runs it",
}
"""Programs whose command lines are not checked, and why."""

ALL = blocks()
WITH_PYTHON = sorted({block.file for block in ALL if block.language == "python"} - set(NOT_PYTHON))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: a sample scan, its true lesion, and weights that parcellate."""
    folder = tmp_path_factory.mktemp("examples")
    (truth,) = (REPOSITORY / "sample-data/derivatives/simulated-truth/sub-03/anat").glob("*.nii.gz")
    shutil.copyfile(REPOSITORY / "sample-data/sub-03/anat/sub-03_FLAIR.nii.gz", folder / "scan.nii.gz")
    shutil.copyfile(truth, folder / "truth.nii.gz")
    save_sided_model(folder / "synthseg.safetensors")
    save_quality_model(folder / "synthseg-quality.safetensors")
    return folder


@pytest.mark.parametrize("file", WITH_PYTHON)
def test_the_python_blocks_of_a_page_run_one_after_the_other(
    file: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in ALL:
        if block.file == file and block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, file, "exec"), names)


def test_the_examples_of_the_api_s_functions_give_what_they_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = doctest.testmod(strokelabel.api)
    assert result.attempted >= 5
    assert result.failed == 0


def test_python_on_a_command_line_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    codes = {words[2]: block for block, words in commands() if words[:2] == ["python", "-c"]}
    assert any("strokelabel.predict('scan.nii.gz').volume_ml" in code for code in codes)
    for code in codes:
        exec(code, {})
        assert capsys.readouterr().out.strip()


def test_every_block_is_of_a_language_that_is_checked_or_excused() -> None:
    checked = {"bash", "python", "yaml", INDENTED, *NOT_CODE}
    assert [block for block in ALL if block.language not in checked] == []
    hidden = [
        block
        for block in ALL
        if block.language in NOT_CODE and re.search(r"^(strokelabel [a-z]|make |python )\S", block.text, re.M)
    ]
    assert hidden == []


def test_yaml_blocks_are_recipes_or_parts_of_one(tmp_path: Path) -> None:
    """A part is tried as a change of `base`."""
    found = [block for block in ALL if block.language == "yaml"]
    assert found
    for block in found:
        content = yaml.safe_load(block.text)
        if "name" not in content:
            content = {"extends": "base", "name": "part"} | content
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        load_recipe(path)


def commands() -> Iterator[tuple[Block, list[str]]]:
    """Yield each command line of the shell blocks, without the folder of its program."""
    known = set(CHECKS) | set(NOT_CHECKED)
    for block in ALL:
        if block.language not in ("bash", INDENTED):
            continue
        for program, *rest in command_lines(block.text):
            name = Path(program).name
            if block.language == "bash" or name in known:
                yield block, [name, *rest]


def check_strokelabel(words: list[str]) -> None:
    """Parse a command line as the command would, without running it."""
    name, *rest = words
    assert name in COMMANDS, f"no command {name}"
    try:
        load_command(name).make_context(name, list(rest))  # which it empties
    except typer.Exit:
        assert "--help" in rest


def check_make(words: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, assignment, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} \?=" if assignment else rf"^\.PHONY: {re.escape(name)}$"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {word}"


def check_python(words: list[str]) -> None:
    if words[0] == "-c":
        return  # executed above
    if words[:2] == ["-m", "pytest"]:
        assert all((REPOSITORY / word).exists() for word in words[2:])
        return
    name, *rest = words[1:] if words[0] == "-m" else words
    inside = f"tests/{name.replace('.', '/')}.py" if words[0] == "-m" else name
    check_options(REPOSITORY / inside, rest)


def check_monailabel(words: list[str]) -> None:
    package = importlib.util.find_spec("monailabel")
    assert package is not None
    check_options(Path(str(package.origin)).parent / "main.py", words)


def check_options(script: Path, words: list[str]) -> None:
    """See that a script with argparse knows the options on a command line."""
    known = {
        value.value
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
        for value in node.args
        if isinstance(value, ast.Constant)
    }
    options = [word for word in words if re.match(r"-{1,2}[a-z]", word)]
    assert set(options) <= known | {"-h", "--help"}, f"{script.name} has no {sorted(set(options) - known)}"


def check_curl(words: list[str]) -> None:
    (address,) = (word for word in words if word.startswith("http://127.0.0.1:8000"))
    path = re.sub(r"\?.*", "", address.removeprefix("http://127.0.0.1:8000"))
    assert any(re.fullmatch(route, path) for route in routes()), f"no route of the server is {path}"


def routes() -> set[str]:
    """Patterns of the server's paths, read from the sources of MONAI Label's endpoints and the app's."""
    package = importlib.util.find_spec("monailabel")
    assert package is not None
    folders = [
        Path(str(package.origin)).parent / "endpoints",
        REPOSITORY / "monailabel_app/lib/server/endpoints",
    ]
    found = set()
    for file in (file for folder in folders for file in folder.glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        prefix = next((_prefix(call) for call in calls if _called(call) == "APIRouter"), "")
        verbs = ("get", "post", "put", "delete", "patch", "add_api_route")
        paths = [call.args[0] for call in calls if _called(call) in verbs and call.args]
        found |= {prefix + path.value for path in paths if isinstance(path, ast.Constant)}
    return {re.sub(r"\{.*?\}", "[^/]+", path) for path in found if path}


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def _prefix(router: ast.Call) -> str:
    """The last string in a router's prefix; before it stands a setting that is empty by default."""
    for keyword in router.keywords:
        if keyword.arg == "prefix":
            return "".join(n.value for n in ast.walk(keyword.value) if isinstance(n, ast.Constant))
    return ""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "strokelabel": check_strokelabel,
    "make": check_make,
    "python": check_python,
    "monailabel": check_monailabel,
    "curl": check_curl,
}


def complaint(program: str, words: list[str]) -> str:
    """What is wrong with a command line; "" for nothing."""
    try:
        CHECKS[program](words)
    except (AssertionError, OSError, typer.TyperException) as error:
        return str(error) or repr(error)
    return ""


def test_every_command_line_is_understood_by_the_program_that_it_calls() -> None:
    lines = [(block, line) for block, line in commands() if line[0] not in NOT_CHECKED]
    found = {
        f"{block.file}:{block.line}: {' '.join(line)}": complaint(line[0], line[1:]) for block, line in lines
    }
    assert {line: text for line, text in found.items() if text} == {}
    assert {line[0] for _, line in lines} == set(CHECKS)


def test_commands_and_options_that_the_prose_quotes_exist() -> None:
    """Prose leaves arguments out."""
    quoted = {line for path in documents() for line in mentions(path, "strokelabel|make|python")}
    assert len(quoted) > 20
    wrong = {}
    for line in sorted(quoted):
        ((program, *words),) = command_lines(line)
        if program != "strokelabel":
            wrong[line] = complaint(program, words)
        elif not words[0].startswith("-"):
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            known = {
                name
                for parameter in _command(words).params
                for name in (*parameter.opts, *parameter.secondary_opts)
            }
            wrong[line] = ", ".join(sorted(options - known - {"--help"}))
    assert {line: text for line, text in wrong.items() if text} == {}


def _command(words: list[str]) -> TyperCommand:
    """The command of a line's words; of a group such as `outcome`, that of its second word."""
    command = load_command(words[0])
    inner = getattr(command, "commands", {})
    return inner[words[1]] if len(words) > 1 and words[1] in inner else command


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("strokelabel segment scan.nii.gz -o out", "no command segment"),
        ("strokelabel predict scan.nii.gz --probability", "--probability"),
        ("strokelabel synthesize base -o samples --count many", "valid int"),
        ("strokelabel export --version 1", "Missing parameter: folder"),
        ("make everything", "has no everything"),
        ("make test VIRTUALENV=x", "has no VIRTUALENV"),
        ("python training/benchmarks/ablation.py --nothing", "--nothing"),
        ("python training/benchmarks/nothing.py", "No such file"),
        ("monailabel start_server --folder x", "--folder"),
        ("curl http://127.0.0.1:8000/infer", "no route"),
    ],
)
def test_a_wrong_command_line_would_be_found(line: str, expected: str) -> None:
    ((program, *words),) = command_lines(line)
    assert expected in complaint(program, words)


def test_what_is_left_out_is_there() -> None:
    assert set(NOT_CHECKED) <= {line[0] for _, line in commands()}
    assert set(NOT_CODE) <= {block.language for block in ALL}
    assert set(NOT_PYTHON) <= {block.file for block in ALL if block.language == "python"}
