"""`rnas.run` and its like: what the commands do, for Python; and what a notebook shows of it."""

import re

import pytest
from untrained_run import write_untrained_run

import rnas
from rnas.config.load import load_config
from rnas.interface import RunDirectory, StudyDirectory

KEYS = {"teacher.path": "shipped:digits", "baselines": "()"}


@pytest.fixture(scope="module")
def config():
    return load_config("rnas_cl/digits", [f"--config.{key}={value}" for key, value in KEYS.items()])


def test_a_call_does_what_the_command_of_its_name_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    called = {}

    def execute(config, workdir, **more):
        called.update(more, config=config, workdir=workdir)

    monkeypatch.setattr("rnas.runs.stages.execute", execute)
    for verb, until in (("run", "report"), ("search", "derive"), ("train", "finetune"), ("evaluate", "evaluate")):
        found = getattr(rnas, verb)("rnas_cl/digits", changes={"search.epochs": 2, "baselines": ("plain",)})
        assert called["until"] == until
        assert str(found.workdir) == "runs/rnas_cl/digits"
    assert called["config"].search.epochs == 2
    assert called["config"].baselines == ("plain",)
    assert called["command"] == "rnas.evaluate(workdir='runs/rnas_cl/digits')"


def test_a_configuration_of_python_is_taken_and_stays_as_it_is(monkeypatch, config, tmp_path):
    monkeypatch.setattr("rnas.runs.stages.execute", lambda found, workdir, **_: given.append(found))
    given = []
    rnas.search(config, tmp_path, {"search.epochs": 3})
    assert given[0].search.epochs == 3 != config.search.epochs
    with pytest.raises(ValueError, match="needs a workdir"):
        rnas.search(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search.epoch": 2}, "has no key 'search.epoch'; the nearest is 'search.epochs'"),
        ({"search.epochs": "many"}, "search.epochs=many: expected int"),
        ({"adversarial.epsilon": "8"}, "adversarial.epsilon"),
    ],
)
def test_mistakes_are_those_of_the_command_line(changes, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)):
        rnas.run("rnas_cl/digits", tmp_path, changes)
    assert not list(tmp_path.iterdir())


def test_a_search_that_was_done_is_shown(config, tmp_path):
    workdir = write_untrained_run(tmp_path / "run", config)
    found = RunDirectory(workdir)
    assert found.evaluation is None and found.page is None
    assert found.architecture.widths == found.architecture.space.smallest
    assert found.model().card.params == rnas.load(workdir).card.params
    assert "no run has begun" in repr(found)
    html = found._repr_html_()
    assert html.count("<img") == 1 and "<table" not in html


def test_an_empty_study_says_so(tmp_path):
    found = StudyDirectory(tmp_path)
    assert "not finished" in repr(found)
    assert found.results is None and found._repr_html_() is None and found.seeds == {}
