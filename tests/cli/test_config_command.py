"""`rnas configs` and `rnas config`; examples and completion of all commands."""

import importlib
import json
import shlex
import subprocess

import pytest

from rnas.cli.command_line import VERBS, parse
from rnas.config import shipped
from rnas.config.keys import keys
from rnas.config.load import load_config
from rnas.main import main


def test_all_configurations_are_listed(capsys):
    assert main(["configs"]) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line in shipped.names()] == shipped.names()
    assert main(["configs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["configurations"]
    assert [each["name"] for each in found] == shipped.names()


@pytest.mark.parametrize("name", ["rnas_cl/cifar10:s7", "dsara/digits"])
def test_what_is_printed_is_what_the_command_line_takes(capsys, name):
    """Every key of it, given again, is the same configuration."""
    assert main(["config", f"--config={name}", "--config.seed=7"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    expected = load_config(name, ["--config.seed=7"])
    changeable = [line for line in lines if not line.endswith(("=()", "=None")) and not line.startswith("system=")]
    assert load_config(name, [f"--config.{line}" for line in changeable]) == expected
    assert len(lines) == len([key for key in keys(expected.system) if not key.is_section])


def test_every_key_has_its_comment(capsys):
    assert main(["config", "--config=rnas_cl/digits", "--doc"]) == 0
    shown = capsys.readouterr().out
    for key in keys("rnas_cl"):
        assert " ".join(key.comment.split()) in " ".join(shown.replace("# ", "").split()), key.name


def test_an_object_for_programs(capsys):
    assert main(["config", "--config=rnas_cl/digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["space"] == "tiny"


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_an_example_that_is_understood(capsys, verb):
    example = importlib.import_module(f"rnas.cli.{VERBS[verb][0]}").EXAMPLE
    assert parse([verb, *shlex.split(example)])[0].command == verb
    with pytest.raises(SystemExit):
        parse([verb, "--help"])
    assert f"Example: rnas {verb} {example}".strip() in " ".join(capsys.readouterr().out.split())


def test_without_a_command_the_first_one_is_shown(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse([])
    assert stopped.value.code == 0 and "To begin: rnas run --config=rnas_cl/digits" in capsys.readouterr().out


def test_a_shell_completes_verbs_and_options(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert stopped.value.code == 0
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    for word in (*VERBS, "--workdir", "--epsilon", "correlate"):
        assert word in script
