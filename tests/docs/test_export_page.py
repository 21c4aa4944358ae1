"""`docs/export.md`: its commands and its code run as written, on a run whose student was never trained."""

from pathlib import Path
import re
import shlex

import numpy as np
import pytest
from untrained_run import write_untrained_run

from rnas.config.load import load_config
from rnas.main import main

pytestmark = pytest.mark.usefixtures("quick_attacks")

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
NEEDED = {"torch": "torch", "onnx": "onnxruntime", "int8": "onnxruntime"}  # format: package that runs it


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def commands(verb):
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    return [words[1:] for words in lines if words[:2] == ["rnas", verb]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the reader is, with the run that the page names."""
    folder = tmp_path_factory.mktemp("reader")
    config = load_config(str(ROOT / "configs" / "rnas_cl" / "digits.py"), [])
    write_untrained_run(folder / "runs" / "rnas_cl" / "digits", config, random_statistics=True)
    return folder


@pytest.mark.parametrize(
    "kind", ["torch", "onnx", pytest.param("int8", marks=pytest.mark.slow), "stablehlo", "safetensors", "card"]
)
def test_its_commands_write_what_its_code_reads(kind, folder, monkeypatch, capsys):
    if package := NEEDED.get(kind):
        pytest.importorskip(package, reason=f"runs the export by {package}, which is not installed")
    monkeypatch.chdir(folder)
    for words in commands("export"):
        if f"--format={kind}" in words:
            output = Path(next(word for word in words if word.startswith("--output=")).partition("=")[2])
            if "--teacher=shipped:fashion_mnist" in words and output.exists():
                continue
            assert main(words) == 0, capsys.readouterr().err
            assert output.is_file() and str(output) in capsys.readouterr().out
    monkeypatch.chdir(folder / "export")
    monkeypatch.syspath_prepend(str(folder / "export"))
    code = [
        block for block in blocks("py") if {"torch": "import torch", "onnx": "onnxruntime"}.get(kind, kind) in block
    ]
    assert len(code) == (kind in ("torch", "onnx", "stablehlo"))
    for block in code:
        names: dict = {}
        exec(compile(block, "export.md", "exec"), names)
        assert names["logits"].shape == (2, 10)


def test_the_export_is_attacked_as_written(folder, monkeypatch, capsys):
    pytest.importorskip("torch", reason="attacks the export in PyTorch, which is not installed")
    monkeypatch.chdir(folder)
    command = next(words for words in commands("attack") if words[1].startswith("--torch="))
    for words in commands("export"):
        if "--format=torch" in words:
            assert main(words) == 0
    assert main([*command, "--attack=fgsm", "--count=20", "--batch-size=20"]) == 0, capsys.readouterr().err
    assert next(folder.glob("attacks/student_fgsm_linf_0.1_digits_first20/attack.json")).is_file()


def test_the_card_has_what_hugging_face_reads(folder, monkeypatch):
    import yaml

    monkeypatch.chdir(folder)
    for words in commands("export"):
        if "--format=card" in words:
            assert main(words) == 0
    text = (folder / "export" / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    content = yaml.safe_load(head)
    assert content["datasets"] == ["digits"] and "model-index" not in content  # nothing was measured
    assert "Not measured yet." in body and "| Input | 8×8×1," in body
    assert np.all([name in body for name in ("Architecture", "Parameters", "Trained on", "Hash")])
