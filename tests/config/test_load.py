"""Configuration files: reading, changing on the command line, recording in a work directory."""

import json
from pathlib import Path

import pytest

from rnas.config.load import load_config, record_config, recorded_config

CONFIG = """
from ml_collections import ConfigDict

def get_config(variety="small"):
    return ConfigDict(dict(
        seed=0, variety=variety, epsilon="8/255", rate=0.1, plot=True, widths=(1, 2), pairs=[3, 4],
        search=dict(epochs=3, rate=0.2), train=dict(epochs=9),
    ))
"""


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "digits.py"
    path.write_text(CONFIG)
    return str(path)


def test_reads_defaults_and_passes_the_argument(file):
    assert load_config(file, []).variety == "small"
    config = load_config(f"{file}:large", [])
    assert config.variety == "large"
    assert config.search.epochs == 3


def test_overrides_keep_the_type_of_the_default(file):
    config = load_config(
        file,
        [
            "--config.search.epochs=2",
            "--config.rate=1",
            "--config.plot=false",
            "--config.widths=(4, 5, 6)",
            "--config.epsilon=4/255",
            "--config.search.epochs=7",
        ],
    )
    assert config.search.epochs == 7
    assert config.train.epochs == 9
    assert isinstance(config.rate, float) and config.rate == 1.0
    assert config.plot is False
    assert config.widths == (4, 5, 6)
    assert config.epsilon == "4/255"


def test_the_configuration_is_locked(file):
    config = load_config(file, [])
    with pytest.raises(AttributeError):
        config.new = 1
    with pytest.raises(AttributeError):
        config.search.new = 1


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("search.epoch=2", "'search.epochs'"),
        ("serch.rate=2", "'search.rate'"),
        ("sead=2", "'seed'"),
        ("epochs=2", "'train.epochs' or 'search.epochs'"),
    ],
)
def test_an_unknown_key_names_the_nearest(file, override, named):
    with pytest.raises(ValueError, match="nearest is " + named):
        load_config(file, [f"--config.{override}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=a", "--config.seed=a: expected int, like the default 0"),
        ("seed=1.5", "expected int"),
        ("search.rate=fast", "--config.search.rate=fast: expected float"),
        ("plot=maybe", "expected bool"),
        ("widths=(1.5,)", "1.5 is of type float"),
        ("widths=wide", "'wide' is of type str"),
        ("pairs=[1]", "can be changed in the file only"),
        ("search=2", "is a section .* search.epochs, search.rate"),
    ],
)
def test_a_value_of_another_type_is_refused(file, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(file, [f"--config.{override}"])


@pytest.mark.parametrize("override", ["--config.seed", "--seed=1", "--config=other.py", "seed=1"])
def test_what_is_no_override_is_refused(file, override):
    with pytest.raises(ValueError, match="expected --config.key=value"):
        load_config(file, [override])


def test_a_missing_file_names_its_neighbours(file, tmp_path):
    (tmp_path / "helper.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"no configuration file .*digts\.py; there is .*digits\.py.*"):
        load_config(str(tmp_path / "digts.py"), [])
    with pytest.raises(ValueError, match="no configuration file"):
        load_config(str(tmp_path / "nowhere" / "digits.py"), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config():\n    raise RuntimeError('no luck')\n", "RuntimeError: no luck"),
        ("def get_config(:\n", "SyntaxError"),
        ("import a_module_that_is_not_there\n", "a_module_that_is_not_there"),
        ("raise SystemExit(2)\n", "SystemExit"),
        ("x = 1\n", "defines no get_config"),
        ("def get_config():\n    return {}\n", "returns dict, not a ConfigDict"),
    ],
)
def test_a_file_that_fails_is_named(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"broken.py.*{message}"):
        load_config(str(path), [])


def test_what_is_no_python_file_is_refused(tmp_path):
    path = tmp_path / "digits.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a Python file"):
        load_config(str(path), [])


def test_an_argument_that_is_not_taken_is_refused(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()\n")
    with pytest.raises(ValueError, match="plain.py:large.*argument"):
        load_config(f"{path}:large", [])


def test_records_once_and_accepts_the_same_again(file, tmp_path):
    workdir = tmp_path / "run"
    record_config(workdir, load_config(file, []))
    recorded = json.loads((workdir / "config.json").read_text())
    assert recorded["search"] == {"epochs": 3, "rate": 0.2}
    assert recorded["widths"] == [1, 2]
    record_config(workdir, load_config(file, ["--config.widths=(1, 2)"]))
    assert [path.name for path in workdir.iterdir()] == ["config.json"]


def test_a_directory_where_nothing_is_done_takes_another_configuration(file, tmp_path):
    run = tmp_path / "run"
    record_config(run, load_config(file, []))
    (run / "run.json").write_text("{}")
    (run / "metrics.jsonl").write_text("{}")
    (run / "events" / "teacher").mkdir(parents=True)
    (run / "events" / "teacher" / "events.out").write_text("")
    record_config(run, load_config(file, ["--config.search.epochs=5"]))
    assert json.loads((run / "config.json").read_text())["search"]["epochs"] == 5
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "run.json"]


def hold(folder):
    """Leaves in a work directory what a run could go on from."""
    (folder / "checkpoints" / "teacher" / "200").mkdir(parents=True)
    (folder / "checkpoints" / "teacher" / "200" / "state").write_text("")


def test_a_directory_of_another_configuration_is_refused(file, tmp_path):
    record_config(tmp_path, load_config(file, []))
    hold(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError) as refusal:
        record_config(tmp_path, load_config(file, ["--config.search.epochs=5", "--config.widths=(1, 3)"]))
    message = str(refusal.value)
    assert "search.epochs: 3 recorded, 5 given" in message
    assert "widths: [1, 2] recorded, [1, 3] given" in message
    assert "--workdir" in message
    assert "rate" not in message
    assert (tmp_path / "config.json").read_bytes() == before


def test_where_and_how_fast_a_run_is_done_may_change(tmp_path):
    record_config(tmp_path, load_config(str(DIGITS), []))
    hold(tmp_path)
    record_config(
        tmp_path, load_config(str(DIGITS), ["--config.data.dir=/elsewhere", "--config.evaluation.batch_size=7"])
    )
    recorded = recorded_config(tmp_path)
    assert (recorded.data.dir, recorded.evaluation.batch_size) == ("/elsewhere", 7)


def test_a_key_on_one_side_only_is_a_difference(file, tmp_path):
    record_config(tmp_path, load_config(file, []))
    hold(tmp_path)
    path = tmp_path / "config.json"
    recorded = json.loads(path.read_text())
    del recorded["seed"]
    path.write_text(json.dumps(recorded | {"old": None}))
    with pytest.raises(ValueError, match="old: null recorded, nothing given\n  seed: nothing recorded, 0 given"):
        record_config(tmp_path, load_config(file, []))


def test_an_unreadable_record_is_named_with_its_position(file, tmp_path):
    path = Path(tmp_path / "config.json")
    path.write_text('{\n  "seed": 0,\n  "si')
    with pytest.raises(ValueError, match=r"config\.json.* at line 3, column 3"):
        record_config(tmp_path, load_config(file, []))


# -- reading the configuration of a run again ------------------------------------------------------------

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"


def test_a_recorded_configuration_comes_back(tmp_path):
    config = load_config(str(DIGITS), ["--config.seed=3", "--config.search.epochs=7", "--config.baselines=('plain',)"])
    record_config(tmp_path, config)
    found = recorded_config(tmp_path)
    assert found.to_dict() == config.to_dict() and isinstance(found.baselines, tuple)
    assert (found.seed, found.search.epochs) == (3, 7)
    assert [type(value) for value in found.data.to_dict().values()] == [
        type(value) for value in config.data.to_dict().values()
    ]
    with pytest.raises(AttributeError):
        found.new = 1
    record_config(tmp_path, found)  # says the same


def test_what_is_no_work_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere holds no config\.json: it is no work directory of a run"):
        recorded_config(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match=r"config\.json is not readable as JSON"):
        recorded_config(tmp_path)


def test_a_configuration_of_another_version_is_refused(tmp_path):
    record_config(tmp_path, load_config(str(DIGITS), []))
    path = tmp_path / "config.json"
    recorded = json.loads(path.read_text())
    path.write_text(json.dumps({**recorded, "old": {"key": 1}}))
    with pytest.raises(ValueError, match="was written by another version: this one has no old.key"):
        recorded_config(tmp_path)


def test_a_key_that_is_new_since_a_run_began_has_its_default(tmp_path):
    record_config(tmp_path, load_config(str(DIGITS), []))
    hold(tmp_path)
    path = tmp_path / "config.json"
    recorded = json.loads(path.read_text())
    del recorded["evaluation"]["models"]
    path.write_text(json.dumps(recorded))
    assert recorded_config(tmp_path).evaluation.models == ("student", "baselines", "teacher")
    models = "--config.evaluation.models=('student',)"
    with pytest.raises(ValueError, match=r'evaluation.models: nothing recorded, \["student"\] given'):
        record_config(tmp_path, load_config(str(DIGITS), [models]))
    record_config(tmp_path, load_config(str(DIGITS), []))
    assert json.loads(path.read_text())["evaluation"]["models"] == ["student", "baselines", "teacher"]


@pytest.mark.parametrize("change", [{"seed": "3"}, {"search": []}, {"system": []}, {"evaluation": None}])
def test_a_record_that_was_changed_by_hand_is_refused(tmp_path, change):
    record_config(tmp_path, load_config(str(DIGITS), []))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"config\.json( was |: )"):
        recorded_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_a_record_that_is_no_configuration_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        recorded_config(tmp_path)
