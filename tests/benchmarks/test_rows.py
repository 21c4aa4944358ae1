"""The table of all benchmarks: what meets its target is marked, what was not measured says so."""

import json
from pathlib import Path

import pytest

FOUND = {
    "ratio": 1.25, "ours": 2.0, "theirs": 2.5, "warm_up": {"ours": 31.4, "eager": 2.0}, "date": "2026-01-02",
    "cpu": "2 × Some Processor", "versions": {"jax": "0.12.0", "torch": "2.13.0", "numpy": "2.4"},
    "peak_memory": {"ours": 2400, "eager": 1000, "compiled": 1500},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(script):
    return script("rows")


def test_a_row_says_what_was_measured_and_whether_it_meets_its_target(rows):
    lines = rows.table({"table_step": FOUND, "search_step": FOUND}).splitlines()
    assert len(lines) == 2 + len(rows.ROWS)
    shown = {
        name: [cell.strip() for cell in line.strip("|").split("|")]
        for name, line in zip(rows.ROWS, lines[2:], strict=True)
    }
    assert shown["table_step"][2:8] == ["2 s", "2.5 s", "**1.25**", "≥ 1", "2,400 / 1,000 MiB (≤ 1.2)", "31 s (≤ 25)"]
    assert shown["table_step"][8] == "2026-01-02, 2 × Some Processor, jax 0.12.0, torch 2.13.0"
    assert shown["search_step"][4:6] == ["1.25", "≥ 1.3"]
    assert shown["cell_search_step"][2:] == ["–", "–", "–", "≥ 1.5", "–", "–", "not measured"]


def test_results_are_added_and_the_latest_is_shown(rows, monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"above\n{rows.MARKS[0]}old\n{rows.MARKS[1]}below\n")
    for seconds, quick in ((3.0, False), (4.0, False), (9.0, True)):
        found = {**FOUND, "ours": seconds, "row": "arms", "quick": quick}
        monkeypatch.setattr(rows, "measure", lambda name, quick, found=found: found)
        words = ["--only=arms", f"--results={tmp_path / 'found.jsonl'}", *(["--quick"] if quick else [])]
        assert rows.main([*words, *([] if quick else [f"--page={page}"])]) == 0
        assert json.loads(capsys.readouterr().out) == found
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text
    assert "| 4 s | 2.5 s |" in text and "9 s" not in text


def test_a_benchmark_that_fails_does_not_stop_the_others(rows, monkeypatch, tmp_path, capsys):
    def measure(name, quick):
        if name == "arms":
            raise RuntimeError("arms.py ended with exit code 1")
        return {**FOUND, "row": name, "quick": quick}

    monkeypatch.setattr(rows, "measure", measure)
    assert rows.main(["--only=arms,table_step", f"--results={tmp_path / 'found.jsonl'}"]) == 1
    shown = capsys.readouterr()
    assert "arms: arms.py ended" in shown.err and json.loads(shown.out)["row"] == "table_step"


def test_what_it_cannot_do_is_refused(rows, capsys, tmp_path):
    with pytest.raises(SystemExit):
        rows.main(["--only=tabel_step"])
    assert "no benchmark 'tabel_step'; there are search_step, table_step" in capsys.readouterr().err
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="lacks the lines"):
        rows.write_page(tmp_path / "page.md", "")


def test_every_script_is_there_and_the_page_has_the_marks(rows):
    folder = Path(rows.__file__).parent
    assert all((folder / row.script[0]).is_file() for row in rows.ROWS.values())
    text = (folder.parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.index(rows.MARKS[0]) < text.index(rows.MARKS[1])
