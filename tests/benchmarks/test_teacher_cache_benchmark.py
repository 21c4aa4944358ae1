"""The benchmark of the teacher cache runs, and its sides do the same work."""

import json

import pytest


@pytest.fixture(scope="module")
def benchmark(script):
    return script("teacher_cache")


@pytest.mark.slow
def test_it_prints_one_line_of_results(benchmark, capsys):
    benchmark.main(["--teacher=wide_resnet_10_1", "--batch=8", "--size=4", "--repeats=2", "--steps=1"])
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["name"] == "teacher_cache" and result["sizes"]["batch"] == 8
    assert all(len(result["seconds"][side]) == 2 for side in benchmark.SIDES)
    assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"], rel=1e-2)
    processor = result["cpu_seconds"]
    assert result["cpu_ratio"] == pytest.approx(processor["theirs"] / processor["ours"], rel=1e-2)
    # Seven taps of 4×4 pixels in half precision with their lengths, and ten logits.
    assert result["view_bytes"] == 7 * (2 * 16 + 4) + 4 * 10
    loss = result["loss"]
    assert loss["ours"] == loss["from_disk"], "the first step comes from the same weights"
    assert loss["theirs"] == pytest.approx(loss["ours"], rel=0.2), "other crops, the same work"


@pytest.mark.parametrize("wrong", ["--batch=0", "--repeats=-1"])
def test_it_refuses_what_it_cannot_do(benchmark, capsys, wrong):
    with pytest.raises(SystemExit):
        benchmark.main([wrong])
    assert "at least 1" in capsys.readouterr().err
