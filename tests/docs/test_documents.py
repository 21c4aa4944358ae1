"""What a person reads: every command is understood, every file, key and link that is named is there."""

import ast
import importlib
import importlib.util
import itertools
import os
from pathlib import Path
import pkgutil
import re
import shlex
import subprocess
import sys

import jax
from ml_collections import ConfigDict
import pytest

from rnas import attacks
from rnas.attacks.catalogue import CATALOGUE
from rnas.attacks.programs import PROGRAMS
from rnas.cli import platform
from rnas.cli.attack import threat_of
from rnas.config import defaults
from rnas.config.load import load_config
from rnas.evaluation import Settings
from rnas.main import main, parse
from rnas.objectives import METHODS
from rnas.spaces.width_space import SPACES
from rnas.teachers import registry

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXECUTED_ELSEWHERE = ("attacks.md", "data.md")  # with more to look at, in test_attacks_page.py, test_data_page.py


def fences(document: Path, language: str) -> list[str]:
    """The blocks of code in a language, without the indentation that a list gives them."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands(document: Path) -> list[list[str]]:
    lines = [line for block in fences(document, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def identity(value) -> str:
    return value.name if isinstance(value, Path) else ""


COMMANDS = [(document, words) for document in DOCUMENTS for words in commands(document)]


@pytest.mark.parametrize("document, words", COMMANDS, ids=[f"{d.name}-{' '.join(w)[:60]}" for d, w in COMMANDS])
def test_a_command_is_understood(document, words, monkeypatch, own_set):
    monkeypatch.chdir(ROOT)
    if any("own_data.py" in word for word in words):  # the set stands for the reader's own
        words = [re.sub(r"(--config\.data\.dir)=.*", rf"\1={own_set}", word) for word in words]
    while re.match(r"[A-Z_]+=", words[0]):  # variables of the environment
        words = words[1:]
    program, *arguments = words
    if program == "sbatch":
        while arguments[0].startswith("--"):
            arguments = arguments[1:]
        program, *arguments = arguments
    else:
        assert not program.startswith(("launch/", "./launch/")) or os.access(program, os.X_OK)
    if program == "rnas":
        check_rnas(arguments)
    elif program == "python":
        check_python(arguments)
    elif program == "pip":
        check_pip(arguments)
    elif program == "source":
        assert arguments == [".venv/bin/activate"]  # which the launchers make
    elif program in ("docker", "kubectl"):
        files = [word.partition("=")[2] or word for word in arguments]
        assert all(Path(word).is_file() for word in files if word.startswith("launch/"))
    elif program == "export":
        assert all(re.match(r"[A-Z_]+=", word) for word in arguments)
    elif program == "mkdocs":
        assert arguments[0] in ("build", "serve") and Path("mkdocs.yml").is_file()
    else:
        check_launcher(program.removeprefix("./"), arguments)


def check_rnas(arguments: list[str]) -> None:
    parsed, overrides = parse(arguments)
    if config := getattr(parsed, "config", None):
        load_config(config, overrides)
    else:
        assert not overrides
    if parsed.command == "attack":
        threat_of(parsed)
        Settings(attack=parsed.attack, version=parsed.version).plan(parsed.norm, 10)
    if published := getattr(parsed, "published", None):
        registry.find_published(published)


def check_launcher(script: str, arguments: list[str]) -> None:
    assert Path(script).is_file(), script
    if script == "launch/local.sh":
        arguments = [argument for argument in arguments if not argument.startswith("--accelerator=")]
    if script in ("launch/test.sh", "launch/check.sh"):
        assert all(argument.startswith("-") or Path(argument).exists() for argument in arguments)
    elif script == "launch/benchmark.sh":
        command = [sys.executable, "tests/benchmarks/rows.py", *arguments, "--help"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    elif script == "launch/environment.sh":
        assert arguments in (["cpu"], ["cuda12"], ["cuda13"], ["tpu"])
    elif script == "launch/tpu_pod.sh":
        command, *rest = [argument for argument in arguments if argument not in ("--dry-run", "--spot")]
        assert f"  launch/tpu_pod.sh {command}" in Path(script).read_text(encoding="utf-8")
        if command in ("run", "keep"):
            check_rnas(["run", *rest])
    elif arguments:
        check_rnas([*(("tabular", "train") if script == "launch/table.sbatch" else ("run",)), *arguments])
    else:
        assert script == "launch/local.sh"  # the only one with a default


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
        return
    source = Path(arguments[0]).read_text(encoding="utf-8")
    options = re.findall(r"--[a-z_-]+", " ".join(arguments[1:]))
    assert all(f'"{option}"' in source for option in options), arguments


def check_pip(arguments: list[str]) -> None:
    setup = Path("setup.py").read_text(encoding="utf-8")
    extras = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
    assert arguments[0] == "install"
    assert all(f'"{extra}": [' in setup for group in extras for extra in group.split(","))


@pytest.fixture
def untouched():
    """What a document registers or sets is undone."""
    tables = (METHODS, CATALOGUE, PROGRAMS, SPACES)
    before, precision = [dict(table) for table in tables], jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", precision)
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name not in EXECUTED_ELSEWHERE], ids=identity)
def test_python_runs(document, untouched):
    names = {"__name__": "document"}
    for block in fences(document, "python"):
        exec(compile(block, document.name, "exec"), names)


def code(document: Path) -> list[str]:
    """What stands between single backticks."""
    text = re.sub(r"^ *```.*?^ *```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=identity)
def test_a_command_in_a_sentence_is_understood(document, capsys):
    """It may be short of what is required, but has nothing that is unknown."""
    for text in code(document):
        if re.match(r"rnas [a-z]+ ", text) and "…" not in text and "--help" not in text:
            try:
                parse(shlex.split(text)[1:])
            except SystemExit:
                assert "are required" in capsys.readouterr().err, f"{document.name}: `{text}`"


@pytest.fixture(scope="module")
def known_keys() -> set[str]:
    """Keys and sections of every system."""

    def all_of(config, prefix=""):
        for key in config:
            yield prefix + key
            if isinstance(config[key], ConfigDict):
                yield from all_of(config[key], f"{prefix}{key}.")

    found = set()
    for module in pkgutil.iter_modules(defaults.__path__):
        system = importlib.import_module(f"{defaults.__name__}.{module.name}")
        if hasattr(system, "get_config"):
            found |= set(all_of(system.get_config()))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=identity)
def test_configuration_keys_exist(document, known_keys):
    sections = {key.partition(".")[0] for key in known_keys if "." in key}
    for text in code(document):
        match = re.match(r"(--config\.)?([a-z_]+(?:\.[a-z0-9_]+)*)(?=$|[ =])", text)
        if not match or re.search(r"\.(json|jsonl|py|md|html|sh|npz)$", match[2]):
            continue
        if match[1] or ("." in match[2] and match[2].partition(".")[0] in sections):
            assert match[2] in known_keys | {"key"}, f"{document.name}: `{text}`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=identity)
def test_files_exist(document):
    for text in code(document):
        path = text.partition(":")[0]
        if re.fullmatch(r"(rnas|configs|launch|tests|docs)(/[\w.<>-]+)+/?", path) and "<" not in path:
            assert (ROOT / path).exists(), f"{document.name}: `{text}`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=identity)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert (document.parent / target.partition("#")[0]).exists(), f"{document.name}: {target}"


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130 and max(map(len, lines)) <= 200


def test_every_page_is_in_the_contents():
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in contents


# -- architecture ----------------------------------------------------------------------------------------


def steps_of(heading: str) -> list[tuple[str, str]]:
    """(file, function) of each numbered line below a heading of `docs/architecture.md`."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (section,) = (part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(heading))
    return re.findall(r"^\d+\. `([\w/.]+)` · `([\w.]+)`", section, flags=re.MULTILINE)


@pytest.mark.parametrize("heading", ["The path of a run", "The path of one image"])
def test_functions_of_the_architecture_exist(heading):
    assert steps_of(heading)
    for file, function in steps_of(heading):
        nodes = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for part in function.split("."):
            (node,) = (node for node in nodes if getattr(node, "name", None) == part)
            nodes = node.body


class Arrived(Exception):
    """The attack was reached."""


@pytest.mark.slow
def test_the_path_of_a_run_is_the_real_one(tmp_path, monkeypatch):
    """From `rnas run` to `projected_ascent` in at most 8 calls, seen from where a step is traced."""
    frames = []

    def attack(*_, **__):
        frame = sys._getframe()
        while frame := frame.f_back:
            frames.append(frame.f_code)
        raise Arrived

    monkeypatch.setattr(platform, "prepare", lambda *_: None)
    monkeypatch.setattr(attacks, "projected_ascent", attack)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = ROOT / "configs" / "dsara" / "digits.py"
    # Cells are given and no teacher is needed: `train` is the first stage with an attack.
    with pytest.raises(Arrived):
        main(["run", f"--config={config}", "--config.genotype=dsara", f"--workdir={tmp_path / 'run'}"])
    found = [
        (Path(code.co_filename).relative_to(ROOT).as_posix(), code.co_qualname.partition(".<locals>")[0])
        for code in reversed(frames)
        if code.co_filename.startswith(str(ROOT / "rnas"))
    ]
    listed = steps_of("The path of a run")
    path = [each for each, _ in itertools.groupby(found)]
    assert path[path.index(listed[0]) :] == listed[:-1]
    assert listed[0] == ("rnas/cli/run.py", "run") and listed[-1] == ("rnas/attacks/pgd.py", "projected_ascent")
    assert len(listed) - 1 <= 8


def test_layers_are_those_of_the_import_contract():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = re.search(r"^\| folder \|.*?\n\n", text, flags=re.DOTALL | re.MULTILINE)[0]
    source = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "hooks" / "generated.py")
    generated = importlib.util.module_from_spec(source)
    source.loader.exec_module(generated)
    expected = [set(row) for row in generated.layers()]
    folders = iter(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))
    assert [set(itertools.islice(folders, len(row))) for row in expected] == expected
    assert list(folders) == []
