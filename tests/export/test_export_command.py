"""`rnas export` on the command line: its files, what it prints, and that the export is as robust as the student."""

import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from untrained_run import write_untrained_run

import rnas
from rnas.config.load import load_config
from rnas.main import main
from rnas.runs.stages import execute

pytestmark = pytest.mark.usefixtures("quick_attacks")

EPSILON, COUNT = 0.1, 120
CELL = [
    "--config.genotype=9930", "--config.train.channels=8", "--config.train.cells=1", "--config.train.epochs=8",
    "--config.baselines=()", "--config.validation.count=0",
]  # fmt: skip


def run(*argv) -> SimpleNamespace:
    """One command: its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, argv)])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    config = load_config("configs/robbench/digits_search.py", CELL)
    return write_untrained_run(tmp_path_factory.mktemp("run") / "run", config, random_statistics=True)


def test_a_file_and_how_far_it_is_from_the_model(workdir, tmp_path):
    done = run("export", f"--workdir={workdir}", "--format=safetensors", f"--output={tmp_path}/sub/student.safetensors")
    assert done.code == 0, done.err
    assert "student.safetensors; run back, its tensors differ by 0.0e+00 at most (limit 0)" in done.out
    done = run("export", f"--workdir={workdir}", "--format=card", f"--output={tmp_path}/README.md", "--json")
    assert json.loads(done.out) == {"files": [f"{tmp_path}/README.md"], "differences": {}}


def test_mistakes_are_one_line(workdir, tmp_path):
    for argv, message in (
        (
            ["--format=onnx", "--output=model.onnx"],
            "name one model: --workdir=RUN (and --model=NAME), or --teacher=DIR",
        ),
        ([f"--workdir={workdir}", "--format=onnx", "--output=m.pt"], "onnx has a name that ends in .onnx"),
        (
            [f"--workdir={workdir}", "--model=teacher", "--format=onnx", "--output=m.onnx"],
            "has no model 'teacher'; it has student",
        ),
        ([f"--teacher={tmp_path}", "--format=onnx", "--output=m.onnx"], "no teacher at"),
    ):
        done = run("export", *argv)
        assert done.code == 2 and done.out == "" and message in done.err and done.err.count("\n") == 1
    with pytest.raises(SystemExit):
        run("export", f"--workdir={workdir}", "--format=tflite", "--output=m")


# -- the same robustness in PyTorch ----------------------------------------------------------------------


def pgd_in_torch(torch, network, images, labels, steps=20):
    """Whether each image stands PGD from the image itself, with steps of ε/4, as one would write it there."""
    images, labels = torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels.astype(np.int64))
    standing = network(images).argmax(1) == labels
    points = images.clone()
    for _ in range(steps):
        points = points.detach().requires_grad_()
        torch.nn.functional.cross_entropy(network(points), labels, reduction="sum").backward()
        moved = points + EPSILON / 4 * points.grad.sign()
        points = torch.clamp(torch.clamp(moved, images - EPSILON, images + EPSILON), 0, 1)
        standing &= network(points).argmax(1) == labels
    return standing.numpy()


@pytest.mark.slow
def test_a_trained_student_keeps_its_robustness_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch", reason="attacks the student in PyTorch, which is not installed")
    import jax

    from rnas.attacks import pgd

    config = load_config("configs/robbench/digits_search.py", CELL)
    workdir = tmp_path / "run"
    execute(config, workdir, command="test", until="train")
    model = rnas.load(workdir)
    code = tmp_path / "student.py"
    done = run("export", f"--workdir={workdir}", "--format=torch", f"--output={code}")
    assert done.code == 0 and "logits differ by" in done.out and "gradients differ by" in done.out
    test = model.run.dataset.test
    images, labels = test.images[:COUNT].astype(np.float32) / np.float32(255), test.labels[:COUNT]
    names = {"__file__": str(code), "__name__": "student"}
    exec(compile(code.read_text(), str(code), "exec"), names)
    network = names["load"]()
    # A plain attack of one's own there, and the same of rnas here: one image may be on the border.
    theirs = pgd_in_torch(torch, network, images, labels)
    ours = pgd(model.logits, images, labels, epsilon=EPSILON, key=jax.random.key(0), steps=20, step_size=EPSILON / 4,
               start="none")  # fmt: skip
    assert 0.2 * COUNT < theirs.sum() < 0.98 * COUNT
    assert abs(int(theirs.sum()) - int((~np.asarray(ours.success)).sum())) <= 1
    # What rnas reports of the student, and of the export as a PyTorch model.
    quick = ["--attack=pgd_20", f"--epsilon={EPSILON}", f"--count={COUNT}", "--batch-size=60", "--json"]
    summaries = [
        run("attack", *named, *quick, f"--output={tmp_path / folder}")
        for folder, named in (("a", [f"--workdir={workdir}"]), ("b", [f"--torch={code}:load", "--dataset=digits"]))
    ]
    assert [each.code for each in summaries] == [0, 0], summaries[1].err
    own, exported = (json.loads(each.out) for each in summaries)
    for first, second in zip((own["clean"], own["robust"]), (exported["clean"], exported["robust"]), strict=True):
        assert abs(first["accuracy"] - second["accuracy"]) * COUNT <= 1 + 1e-6
    assert exported["model"]["source"] == f"{code}:load" and exported["model"]["params"] == model.card.params
