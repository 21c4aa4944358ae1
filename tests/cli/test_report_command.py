"""`rnas report`: which page a work directory gets, by what it holds."""

import json

import pytest

from rnas.main import main

KINDS = {  # file, content, and the function that draws it
    "config.json": ({"system": "robbench"}, "rnas.pages.table_page.write_training_page"),
    "study.json": ({}, "rnas.pages.write_study_page"),
    "ntk.json": ({}, "rnas.pages.kernel_page.write_kernel_page"),
    "attack.json": ({}, "rnas.pages.write_attack_page"),
    "run.json": ({}, "rnas.pages.write_report"),
}


@pytest.fixture
def drawn(monkeypatch):
    """Names of the functions that were called, with their arguments."""
    found = []
    for _, name in KINDS.values():
        monkeypatch.setattr(name, lambda *given, name=name: found.append((name, *given)) or given[0] / "report.html")
    return found


@pytest.mark.parametrize("file", KINDS)
def test_the_page_is_that_of_the_kind(tmp_path, drawn, capsys, file):
    content, name = KINDS[file]
    (tmp_path / file).write_text(json.dumps(content))
    assert main(["report", f"--workdir={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    assert [call[:2] for call in drawn] == [(name, tmp_path)]


@pytest.mark.parametrize(
    ("file", "noun"),
    [("study.json", "a study"), ("ntk.json", "a study of tangent kernels"), ("attack.json", "one attack")],
)
def test_nothing_stands_beside_an_attack_or_a_study(tmp_path, drawn, capsys, file, noun):
    (tmp_path / file).write_text("{}")
    assert main(["report", f"--workdir={tmp_path}", f"--beside={tmp_path}"]) == 2
    assert f"{tmp_path} holds {noun}; nothing can stand beside it." in capsys.readouterr().err and not drawn


@pytest.mark.parametrize("file", ["config.json", "run.json"])
def test_others_stand_beside_a_run_and_a_table(tmp_path, drawn, file):
    (tmp_path / file).write_text(json.dumps(KINDS[file][0]))
    assert main(["report", f"--workdir={tmp_path}", "--beside=a", "--beside=b"]) == 0
    assert drawn == [(KINDS[file][1], tmp_path, ["a", "b"])]


def test_seeds_get_a_page_of_their_own(monkeypatch, capsys):
    monkeypatch.setattr("rnas.pages.write_seeds_page", lambda pattern: f"page of {pattern}")
    assert main(["report", "--seeds=runs/s7/seed_*"]) == 0
    assert capsys.readouterr().out == "page of runs/s7/seed_*\n"
    for other in ("--workdir=runs/s7", "--beside=runs/s8"):
        assert main(["report", "--seeds=runs/s7/seed_*", other]) == 2
        assert "give it without --workdir and --beside" in capsys.readouterr().err


def test_the_work_directory_is_the_current_one_by_default(tmp_path, drawn, monkeypatch):
    (tmp_path / "attack.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 0 and drawn[0][0] == "rnas.pages.write_attack_page"
