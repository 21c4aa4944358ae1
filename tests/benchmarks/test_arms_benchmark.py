"""The benchmark of arms side by side runs, and its sides do the same work."""

import json

import pytest


@pytest.fixture(scope="module")
def benchmark(script):
    return script("arms")


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--live"]])
def test_it_prints_one_line_of_results(benchmark, capsys, more):
    benchmark.main(["--teacher=wide_resnet_10_1", "--batch=8", "--size=4", "--repeats=2", "--steps=2", *more])
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["name"] == "arms" and result["sizes"]["batch"] == 8 and result["sizes"]["live"] == bool(more)
    assert all(len(result["seconds"][side]) == 2 for side in benchmark.SIDES)
    assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"], rel=1e-2)
    processor = result["cpu_seconds"]
    assert result["cpu_ratio"] == pytest.approx(processor["theirs"] / processor["ours"], rel=1e-2)
    assert len(result["loss"]["ours"]) == 4
    assert result["loss"]["ours"] == pytest.approx(result["loss"]["theirs"], rel=1e-3)


@pytest.mark.parametrize("wrong", ["--arms=0", "--repeats=-1"])
def test_it_refuses_what_it_cannot_do(benchmark, capsys, wrong):
    with pytest.raises(SystemExit):
        benchmark.main([wrong])
    assert "at least 1" in capsys.readouterr().err
