"""From a file to a teacher: wrappers, prefixes and duplicates; what is asked for; what is refused."""

import argparse
import hashlib
import json
import os
from pathlib import Path
import struct
import sys
import zipfile

import jax
import numpy as np
import pytest
from torch_files import Build, Call, Global, New, View, ordered, pickled, write_archive, write_pt
import torch_networks as nets

from rnas.teachers import import_torch, load_teacher
from rnas.teachers.normalization import NAMED

pytestmark = pytest.mark.filterwarnings("ignore:.*is read by PyTorch because:UserWarning")

NAME = "wide_resnet_10_1"
STATE = nets.filled(nets.wide(10, 1, 10))
MEAN, STD = NAMED["cifar10"]


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "checkpoint.pt"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The teacher of the bare state, without normalisation."""
    file = tmp_path_factory.mktemp("plain") / "plain.pt"
    write_pt(file, ordered(STATE))
    return import_torch(file, NAME, "none")


def prefixed(prefix: str, state=STATE) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


def zeros(shapes) -> dict:
    """Tensors of a large network, without the time that random numbers take."""
    return {name: np.zeros(shape, np.float32 if shape else np.int64) for name, shape in shapes.items()}


def buffers(mean, std, shape) -> dict:
    mean_name, std_name = ("mu", "sigma") if shape == (1, 3, 1, 1) else ("mean", "std")
    return {
        mean_name: np.asarray(mean, np.float32).reshape(shape),
        std_name: np.asarray(std, np.float32).reshape(shape),
    }


OTHER = nets.filled(nets.wide(10, 1, 10), seed=1)
MADRY = {
    **prefixed("module.model."),
    **prefixed("module.attacker.model.", OTHER),
    "module.normalizer.new_mean": np.asarray(MEAN, np.float32).reshape(3, 1, 1),
    "module.normalizer.new_std": np.asarray(STD, np.float32).reshape(3, 1, 1),
    "module.attacker.normalize.new_mean": np.full((3, 1, 1), 9, np.float32),
    "module.attacker.normalize.new_std": np.full((3, 1, 1), 9, np.float32),
}

# -- wrappers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "entry", "others", "prefix"),
    [
        (STATE, "", [], ""),
        (ordered(STATE), "", [], ""),
        (prefixed("module."), "", [], "module."),
        (prefixed("module.model."), "", [], "module.model."),
        (prefixed("model.module.backbone.net."), "", [], "model.module.backbone.net."),
        ({"state_dict": ordered(prefixed("module.")), "epoch": 76}, "state_dict", [], "module."),
        (
            {"model_state_dict": prefixed("module.0."), "unaveraged_model_state_dict": prefixed("module.0.", OTHER)},
            "model_state_dict",
            ["unaveraged_model_state_dict"],
            "module.0.",
        ),
        ({"net": prefixed("module."), "acc": 80.0, "epoch": 3}, "net", [], "module."),
        ({"model": STATE, "optimizer": {"state": {}, "param_groups": []}}, "model", [], ""),
        ({"best": OTHER, "last": STATE}, "last", ["best"], ""),
        ({"best": STATE, "epoch": 1}, "best", [], ""),
        ({"state_dict_ema": OTHER, "state_dict": STATE}, "state_dict", ["state_dict_ema"], ""),
        # A scalar tensor beside the state makes it no bare state.
        ({"state_dict": STATE, "accuracy": np.asarray(0.5, np.float32)}, "state_dict", [], ""),
    ],
)
def test_wrappers_of_published_files(file, plain, content, entry, others, prefix):
    write_pt(file, content)
    teacher = import_torch(file, NAME, "none")
    assert teacher.hash == plain.hash
    origin = teacher.origin
    assert (origin["entry"], origin["other_entries"], origin["prefix"]) == (entry, others, prefix)


def test_numpy_and_safetensors_give_the_same(tmp_path, plain):
    np.savez(tmp_path / "state.npz", **STATE)
    table, content = {}, b""
    for name, tensor in STATE.items():
        kind = {"float32": "F32", "int64": "I64"}[str(tensor.dtype)]
        table[name] = {
            "dtype": kind,
            "shape": tensor.shape,
            "data_offsets": [len(content), len(content) + tensor.nbytes],
        }
        content += tensor.tobytes()
    head = json.dumps(table).encode()
    (tmp_path / "state.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + content)
    for name in ("state.npz", "state.safetensors"):
        assert import_torch(tmp_path / name, NAME, "none").hash == plain.hash


def test_an_entry_can_be_chosen(file, plain):
    write_pt(file, {"state_dict": OTHER, "averaged": STATE})
    assert import_torch(file, NAME, "none", entry="averaged").hash == plain.hash
    assert import_torch(file, NAME, "none").hash != plain.hash
    with pytest.raises(ValueError, match="no state at ema; name one with --entry: 'state_dict', 'averaged'"):
        import_torch(file, NAME, "none", entry="ema")


def test_an_entry_within_an_entry_is_offered(file, plain):
    write_pt(file, {"model": {"state_dict": STATE, "epoch": 3}})
    with pytest.raises(ValueError, match="name one with --entry: 'model.state_dict'"):
        import_torch(file, NAME, "none")
    assert import_torch(file, NAME, "none", entry="model.state_dict").hash == plain.hash


def test_an_unknown_wrapper_names_what_it_has(file):
    write_pt(file, {"weights": STATE, "epoch": 3})
    with pytest.raises(ValueError, match="no state at state_dict, model_state_dict.*name one with --entry: 'weights'"):
        import_torch(file, NAME, "none")
    write_pt(file, {"epoch": 3, "arguments": {"lr": 0.1}})
    with pytest.raises(ValueError, match="no state at .*; it has 'epoch', 'arguments'"):
        import_torch(file, NAME, "none")
    write_pt(file, [STATE])
    with pytest.raises(ValueError, match="holds a list; expected a mapping of names to tensors"):
        import_torch(file, NAME, "none")


def test_what_is_no_network_is_left_out(file, plain):
    """The unused copy of TRADES' first stage, whole or in part, and Andriushchenko's stray head."""
    leftover = nets.filled(nets.wide(10, 1, 10, leftover=True), seed=2)
    stray = {name: tensor for name, tensor in leftover.items() if name.startswith("sub_block1.")}
    write_pt(file, prefixed("module.", {**STATE, **stray, "model_preact_hl1.1.weight": np.ones((10, 3), np.float32)}))
    teacher = import_torch(file, NAME, "none")
    assert teacher.hash == plain.hash
    # The whole network has 7 counters, the copied stage 2.
    assert {reason.partition(",")[0]: number for reason, number in teacher.origin["ignored"].items()} == {
        "counters of BatchNorm": 9,
        "sub_block1": len(stray) - 2,
        "model_preact_hl1": 1,
    }
    without_counters = {name: tensor for name, tensor in STATE.items() if not name.endswith("tracked")}
    write_pt(file, without_counters)
    assert import_torch(file, NAME, "none").hash == plain.hash


def test_the_attackers_duplicate_is_not_the_model(file, plain):
    """Tensors and normaliser under `attacker` differ here, which shows that those of the model are taken."""
    write_pt(file, {"model": MADRY, "epoch": 150})
    teacher = import_torch(file, NAME)
    assert teacher.hash == plain.hash
    np.testing.assert_allclose((teacher.mean, teacher.std), (MEAN, STD), rtol=1e-6)
    assert teacher.origin["normalization"] == {"name": "cifar10", "from": "the file"}
    assert teacher.origin["prefix"] == "module.model."


@pytest.mark.parametrize(
    "name", ["attackers.model.conv1.weight", "sub_block2.layer.0.bn1.weight", "conv2.weight", "ema"]
)
def test_any_other_tensor_is_refused(file, name):
    write_pt(file, {**STATE, name: np.ones((16,), np.float32)})
    with pytest.raises(ValueError, match=rf"fit the network:\n  1 not used by the network:\n    {name} \(16,\)"):
        import_torch(file, NAME, "none")


def test_a_prefix_goes_only_if_all_tensors_share_it(file):
    """`model.` inside a name, or before some of the names, stays."""
    write_pt(file, {**STATE, "model.conv1.weight": STATE["conv1.weight"]})
    with pytest.raises(ValueError, match=r"1 not used by the network:\n    model.conv1.weight"):
        import_torch(file, NAME, "none")
    inside = {name.replace("block1.", "block1.module."): tensor for name, tensor in STATE.items()}
    write_pt(file, inside)
    with pytest.raises(ValueError, match="none of the known networks"):
        import_torch(file, NAME, "none")


def test_tensors_beside_a_prefix_are_named(file):
    """Before it is asked whose tensors these are: with the prefix they are nobody's."""
    write_pt(file, {**prefixed("module.model."), "module.temperature": np.ones((1,), np.float32)})
    with pytest.raises(ValueError, match="begin with 'module.model.', .* but 1 that it does not use: 'module.temperat"):
        import_torch(file, NAME, "none")
    # Even where they have a place: what stands apart is another network's.
    write_pt(file, {**prefixed("module."), "fc.bias": STATE["fc.bias"]})
    with pytest.raises(ValueError, match="begin with 'module.', .* but 1 that it does not use: 'fc.bias'"):
        import_torch(file, NAME, "none")


def test_a_state_with_something_else_in_it_is_refused(file):
    write_pt(file, {**STATE, "temperature": 1.5})
    with pytest.raises(ValueError, match=r"holds what is no tensor: temperature \(float\)"):
        import_torch(file, NAME, "none")


# -- what does not fit -----------------------------------------------------------------------------------


def test_all_that_does_not_fit_is_listed_at_once(file):
    state = {name: tensor for name, tensor in STATE.items() if not name.startswith("bn1.")}
    state["block2.layer.0.conv2.weight"] = np.ones((32, 32, 1, 1), np.float32)
    state["block3.layer.0.bn2.bias"] = np.full((64,), np.nan, np.float32)
    state["fc.weight"] = np.full((10, 64), 1e39)  # more than single precision holds
    state["block1.layer.0.bn1.running_var"] = np.full((16,), -1, np.float32)
    state["fc.bias"] = np.arange(10)
    state["scores"] = np.ones((4,), np.float32)
    write_pt(file, state)
    with pytest.raises(ValueError) as refusal:
        import_torch(file, NAME, "none")
    # Among the missing is the last normalisation, without which the network would be another function.
    assert str(refusal.value).splitlines() == [
        f"{file}: the tensors do not fit the network:",
        "  1 not used by the network:",
        "    scores (4,)",
        "  4 missing:",
        *(f"    bn1.{part} (64,)" for part in ("bias", "running_mean", "running_var", "weight")),
        "  1 of another shape:",
        "    block2.layer.0.conv2.weight (32, 32, 1, 1), expected (32, 32, 3, 3)",
        "  1 not of a floating type:",
        "    fc.bias int64",
        "  2 not finite in single precision:",
        "    block3.layer.0.bn2.bias",
        "    fc.weight",
        "  1 negative:",
        "    block1.layer.0.bn1.running_var",
    ]


@pytest.mark.parametrize("width", [300, 100_000])
def test_a_small_file_of_a_huge_network_is_refused(file, width):
    """Every tensor is one number, repeated."""
    number = np.ones(1, np.float32)
    shapes = nets.wide(10, width)
    write_pt(file, {name: View(number, 0, shape, (0,) * len(shape)) for name, shape in shapes.items() if shape})
    with pytest.raises(ValueError, match=r"its tensors would take [\d,]+ bytes in memory; at most 17,179,869,184"):
        import_torch(file, normalization="none")


def test_a_block_with_a_large_number_does_not_make_a_deep_network(file):
    write_pt(file, {**STATE, "block2.layer.1500.bn1.weight": np.ones((32,), np.float32)})
    with pytest.raises(ValueError, match=r"its 40 tensors cannot be those of 1 \+ 1501 \+ 1 blocks"):
        import_torch(file, NAME, "none")


def test_a_name_may_say_what_it_could_leave_out(file):
    write_pt(file, zeros(nets.resnet(18)))
    assert import_torch(file, "resnet18_w64", "none").architecture == "resnet18"


def test_another_depth_or_width_than_said_is_refused(file):
    write_pt(file, STATE)
    for name in ("wide_resnet_16_1", "wide_resnet_10_2", "resnet18"):
        with pytest.raises(ValueError, match=rf"are those of wide_resnet_10_1 \(.*\), but it was called {name}"):
            import_torch(file, name, "none")


def test_a_depth_that_the_tensors_do_not_have_throughout_is_refused(file):
    deeper = nets.filled(nets.wide(16, 1, 10))
    state = {name: tensor for name, tensor in deeper.items() if not name.startswith("block2.layer.1.")}
    write_pt(file, state)
    with pytest.raises(ValueError, match=r"10 missing:\n    block2.layer.1.bn1"):
        import_torch(file, "wide_resnet_16_1", "none")


def test_a_missing_last_normalisation_makes_another_network(file):
    """PreActResNet exists with and without it; the tensors must be those of the one that was named."""
    state = {name: tensor for name, tensor in nets.filled(nets.preact(18, 4)).items() if not name.startswith("bn.")}
    write_pt(file, state)
    with pytest.raises(
        ValueError, match="those of preact_resnet18_w4_v1_nobn or preact_resnet18_w4_nobn .* called pre"
    ):
        import_torch(file, "preact_resnet18_w4", "none")


def test_other_classes_than_published_are_refused(file):
    write_pt(file, zeros(nets.preact(18, 64, 10)))
    with pytest.raises(ValueError, match="it has 10 classes, but cifar100/Rice2020Overfitting has 100"):
        import_torch(file, published="cifar100/Rice2020Overfitting")


def test_a_web_page_and_a_truncated_file_are_named(file):
    file.write_bytes(b"<html><body>Virus scan warning</body></html>")
    with pytest.raises(ValueError, match=f"{file} is a web page, not a checkpoint"):
        import_torch(file, NAME, "none")
    write_pt(file, STATE)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{file} is a damaged archive"):
        import_torch(file, NAME, "none")


def test_a_file_that_would_run_code_runs_none(file, tmp_path):
    call = Call(Global("os", "system"), (f"touch {tmp_path / 'marker'}",))
    write_archive(file, {"data.pkl": pickled({"state_dict": {}, "hook": call})})
    with pytest.raises(ValueError, match="it names 'os.system'.*Nothing of it was run"):
        import_torch(file, NAME, "none")
    assert not (tmp_path / "marker").exists()


# -- what is asked for -----------------------------------------------------------------------------------


def test_the_normalisation_is_asked_for_where_the_file_does_not_say_it(file):
    write_pt(file, STATE)
    with pytest.raises(
        ValueError, match="does not contain how images are normalised.*give a normalization, one of none"
    ):
        import_torch(file, NAME)
    with pytest.raises(ValueError, match="no normalisation is named 'cifr10'; the names are none, half, cifar10"):
        import_torch(file, NAME, "cifr10")
    with pytest.raises(ValueError, match="expected 3 means and 3 positive standard deviations"):
        import_torch(file, NAME, "0.5/0.5")
    with pytest.raises(ValueError, match="expected numbers separated by commas"):
        import_torch(file, NAME, "0.5,x,0.5/1,1,1")
    with pytest.raises(ValueError, match="divided by 255: 0.4914,0.4824,0.4467/0.2471,0.2435,0.2616"):
        import_torch(file, NAME, "125.3,123.0,113.9/63.0,62.1,66.7")
    for numbers in ("-0.5,0,0/1,1,1", "0.5,0.5,0.5/63,62,67", "0,0,1.5/1,1,1"):
        with pytest.raises(ValueError, match="means from 0 to 1 and standard deviations of at most 1"):
            import_torch(file, NAME, numbers)
    for numbers in ("nan,0,0/1,1,1", "0,0,inf/1,1,1", "0,0,0/1,nan,1", "0,0,0/1,1,inf"):
        with pytest.raises(ValueError, match="3 positive standard deviations, finite numbers"):
            import_torch(file, NAME, numbers)


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ("none", (0, 0, 0), (1, 1, 1)),
        ("half", (0.5,) * 3, (0.5,) * 3),
        ("cifar100", (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("0.1,0.2,0.3/0.4,0.5,0.6", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        (((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    ],
)
def test_the_normalisation_that_was_said(file, given, mean, std):
    write_pt(file, STATE)
    teacher = import_torch(file, NAME, given)
    assert (teacher.mean, teacher.std) == (mean, std) and teacher.origin["normalization"]["from"] == "the user"


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 1, 1)])
def test_the_normalisation_in_the_file_is_used(file, shape):
    write_pt(file, prefixed("module.", {**STATE, **buffers(MEAN, STD, shape)}))
    teacher = import_torch(file, NAME)
    assert teacher.mean == tuple(map(float, np.float32(MEAN))) and teacher.std == tuple(map(float, np.float32(STD)))
    assert import_torch(file, NAME, "cifar10").mean == teacher.mean  # what is said agrees
    with pytest.raises(ValueError, match="the normalisation of the file is .*, that of the user is "):
        import_torch(file, NAME, "cifar10_madry")
    write_pt(file, {**zeros(nets.resnet(18)), **buffers(MEAN, STD, shape)})
    with pytest.raises(ValueError, match="the normalisation of the file is .*, that of cifar10/Sehwag2021Proxy_R18 is"):
        import_torch(file, published="Sehwag2021Proxy_R18")


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (("normalize.mean", "normalize.std"), "model."),
        (("module.0.mean", "module.0.std"), "module.1."),
        (("module.normalizer.new_mean", "module.normalizer.new_std"), "module.model."),
    ],
)
def test_a_normaliser_beside_the_network_is_used(file, plain, names, prefix):
    """As RobustBench, imrahulr's code and MadryLab's library keep it."""
    numbers = {name: np.asarray(values, np.float32) for name, values in zip(names, (MEAN, STD), strict=True)}
    write_pt(file, {**prefixed(prefix), **numbers})
    teacher = import_torch(file, NAME)
    assert teacher.hash == plain.hash and teacher.origin["prefix"] == prefix
    assert teacher.origin["normalization"] == {"name": "cifar10", "from": "the file"}


def test_a_normaliser_in_half_precision_agrees_with_the_published_numbers(file):
    halves = {name: tensor.astype(np.float16) for name, tensor in {**STATE, **buffers(MEAN, STD, (1, 3, 1, 1))}.items()}
    write_pt(file, halves)
    assert import_torch(file, NAME, "cifar10").mean == tuple(map(float, np.float16(MEAN)))
    for other in ("cifar10_madry", "cifar10_rony", "cifar10_augustin"):
        with pytest.raises(ValueError, match="the normalisation of the file is"):
            import_torch(file, NAME, other)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"mean": np.full((3,), np.nan, np.float32), "std": np.ones((3,), np.float32)}, "finite numbers"),
        ({"mean": np.ones((3,), np.float32), "std": np.full((3,), np.inf, np.float32)}, "finite numbers"),
        ({"mu": np.ones((1, 3, 1, 1), np.float32)}, "the file has mu but no std to go with it"),
        ({"mean": np.ones((3, 9, 9), np.float32), "std": np.ones((3,), np.float32)}, r"mean is float32 \(3, 9, 9\)"),
        ({"mean": np.ones((3,), np.int64), "std": np.ones((3,), np.float32)}, r"mean is int64 \(3,\)"),
        ({"mean": np.ones((4,), np.float32), "std": np.ones((4,), np.float32)}, "expected 3 means"),
        ({"mean": np.ones((3,), np.float32), "std": np.zeros((3,), np.float32)}, "3 positive standard deviations"),
        ({**buffers(MEAN, STD, (3,)), **buffers(STD, MEAN, (1, 3, 1, 1))}, "several that differ: mean, mu"),
    ],
)
def test_a_normaliser_that_makes_no_sense_is_refused(file, extra, message):
    write_pt(file, {**STATE, **extra})
    with pytest.raises(ValueError, match=message):
        import_torch(file, NAME, "none")


def test_what_tensors_do_not_tell_is_asked_for(file):
    write_pt(file, nets.filled(nets.deepmind_wide(10, 1)))
    with pytest.raises(
        ValueError, match="SiLU or ReLU .*: give one architecture, dm_wide_resnet_10_1 or dm_wide_resnet_10"
    ):
        import_torch(file, normalization="none")
    assert import_torch(file, "dm_wide_resnet_10_1_relu", "none").model.activation == "relu"
    write_pt(file, nets.filled(nets.preact(18, 4)))
    with pytest.raises(
        ValueError, match="raw input .*: give one architecture, preact_resnet18_w4 or preact_resnet18_w4_v1"
    ):
        import_torch(file, normalization="none")
    write_pt(file, STATE)
    assert import_torch(file, normalization="none").architecture == NAME  # here they do tell


def test_a_published_name_says_architecture_and_normalisation(file):
    write_pt(file, {"last": zeros(nets.preact(18, 64, 10, last=False)), "best": {}})
    teacher = import_torch(file, published="Andriushchenko2020Understanding")
    assert teacher.architecture == "preact_resnet18_v1_nobn" and teacher.origin["normalization"]["name"] == "none"
    assert teacher.origin["dataset"] == {"name": "cifar10"}
    assert teacher.origin["published"]["clean"] == 79.84 and teacher.origin["published"]["autoattack"] == 43.93
    with pytest.raises(ValueError, match="but cifar10/Rice2020Overfitting is wide_resnet_34_20"):
        import_torch(file, published="cifar10/Rice2020Overfitting")
    with pytest.raises(ValueError, match="but it was called preact_resnet18"):
        import_torch(file, "preact_resnet18", published="Andriushchenko2020Understanding")


def test_networks_for_small_images_take_no_others(file, tmp_path, plain):
    write_pt(file, STATE)
    with pytest.raises(ValueError, match="whole image at 32x32 pixels only, so it cannot be used at 64x64"):
        import_torch(file, NAME, "none", image_size=64)
    for size in (0, -3):
        with pytest.raises(ValueError, match=f"image_size={size}: expected at least 1 pixel"):
            import_torch(file, NAME, "none", image_size=size)
    with pytest.raises(ValueError, match=r"published for images of \(32, 32, 3\) only.* given images of \(64, 64, 3\)"):
        jax.eval_shape(plain.apply, plain.variables, np.zeros((1, 64, 64, 3), np.float32))
    assert jax.eval_shape(plain.apply, plain.variables, np.zeros((5, 32, 32, 3), np.float32))[0].shape == (5, 10)
    write_pt(file, nets.filled(nets.torchvision(18, 4, 7)))
    free = import_torch(file, "imagenet_resnet18_w4", "imagenet")
    assert free.image_shape == (224, 224, 3) and import_torch(file, normalization="imagenet", image_size=64)
    assert jax.eval_shape(free.apply, free.variables, np.zeros((1, 64, 64, 3), np.float32))[0].shape == (1, 7)


# -- the teacher directory -------------------------------------------------------------------------------


def test_an_imported_teacher_comes_back_from_its_directory(file, tmp_path):
    write_pt(file, {"state_dict": prefixed("module.", {**STATE, **buffers(MEAN, STD, (1, 3, 1, 1))})})
    teacher = import_torch(file, NAME)
    teacher.save(tmp_path / "teacher")
    loaded = load_teacher(tmp_path / "teacher")
    for field in ("hash", "mean", "std", "taps", "architecture", "num_classes", "image_shape", "fixed_size", "origin"):
        assert getattr(loaded, field) == getattr(teacher, field), field
    with pytest.raises(ValueError, match="32, 3"):
        jax.eval_shape(loaded.apply, loaded.variables, np.zeros((1, 64, 64, 3), np.float32))
    assert [tap.name for tap in loaded.taps[:2]] == ["conv1", "block1.layer.0.conv1"]
    assert tuple(loaded.taps[-1])[1:] == (8, 8, 64)


def test_the_card_says_where_the_weights_come_from(file):
    write_pt(file, STATE)
    origin = import_torch(file, NAME, "none").origin
    assert origin["source"] == {
        "name": "checkpoint.pt",
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "format": "PyTorch",
    }
    assert origin["family"] == "WideResNet (TRADES)" and origin["dtypes"] == ["float32"]
    json.dumps(origin)


# -- files that PyTorch itself must read -----------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="reads files by PyTorch, which is not installed")


def tensors(torch, state=STATE):
    return {name: torch.tensor(tensor) for name, tensor in state.items()}


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_old_format_is_read_by_pytorchs_reader_of_weights(file, torch, plain, protocol):
    content = {"net": tensors(torch), "acc": 0.8}
    torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    teacher = import_torch(file, NAME, "none")
    assert teacher.hash == plain.hash and teacher.origin["source"]["format"] == "PyTorch, weights alone"


def test_tensors_of_further_kinds_are_too(file, torch, plain):
    """Those of a parameter with attributes of its own, which our reader does not know."""
    state = tensors(torch)
    state["fc.bias"] = torch.nn.Parameter(state["fc.bias"])
    state["fc.bias"].note = 1
    torch.save(state, file)
    teacher = import_torch(file, NAME, "none")
    assert teacher.hash == plain.hash and teacher.origin["source"]["format"] == "PyTorch, weights alone"


def test_tensors_in_half_precision_of_either_kind_are_too(file, torch):
    state = {name: tensor.bfloat16() for name, tensor in tensors(torch).items()}
    torch.save(state, file, _use_new_zipfile_serialization=False)
    assert import_torch(file, NAME, "none").origin["dtypes"] == ["bfloat16"]


@pytest.mark.parametrize(("version", "protocol"), [("2.5.1+cpu", 2), ("", 4), ("", 5)])
def test_what_that_reader_does_not_read_needs_trust(file, torch, plain, version, protocol, monkeypatch):
    """Or where it is of a version that could be made to run code."""
    monkeypatch.setattr(torch, "__version__", version or torch.__version__)
    content = {"net": tensors(torch), "acc": 0.8}
    torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="format before version 1.6.*give --trust"):
        import_torch(file, NAME, "none")
    with pytest.warns(UserWarning, match="is read by PyTorch because you trust it"):
        teacher = import_torch(file, NAME, "none", trust=True)
    assert teacher.hash == plain.hash and teacher.origin["source"]["format"] == "PyTorch, trusted"


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_classes_beside_the_state_are_replaced_with_trust(file, torch, plain, zipped):
    content = {"model": tensors(torch, MADRY), "args": argparse.Namespace(lr=0.1), "rate": np.float64(0.1)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="--trust"):
        import_torch(file, NAME)
    with pytest.warns(UserWarning, match="also holds .*argparse.Namespace.*; these were left out"):
        teacher = import_torch(file, NAME, trust=True)
    assert teacher.hash == plain.hash and "argparse.Namespace" in teacher.origin["foreign_classes"]


def test_classes_that_dill_brings_along_are_replaced_too(file, torch, plain):
    """Dill pickles how to make a class, makes it, and makes an object of it, filled in every way that pickles know."""
    kind = Call(Global("dill._dill", "_create_type"), (Global("dill._dill", "_load_type"), "Parameters", (), {}))
    made = Build(New(kind, ()), {"params": {"lr": Call(Global("dill._dill", "_create_function"), (1, None))}})
    write_pt(file, {"model": MADRY, "args": made, "type": kind})
    with pytest.raises(ValueError, match="it names 'dill._dill._create_type'"):
        import_torch(file, NAME)
    with pytest.warns(UserWarning, match="also holds dill._dill._create_function, dill._dill._create_type"):
        assert import_torch(file, NAME, trust=True).hash == plain.hash


def test_with_trust_too_nothing_foreign_runs(file, tmp_path, torch, plain):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'marker'}",)

    for zipped in (True, False):
        torch.save({"state_dict": tensors(torch), "x": Attack()}, file, _use_new_zipfile_serialization=zipped)
        with pytest.warns(UserWarning, match="also holds (posix|nt|os).system"):
            assert import_torch(file, NAME, "none", trust=True).hash == plain.hash
        torch.save({"state_dict": {**tensors(torch), "conv1.weight": Attack()}}, file)
        with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"no tensor: conv1.weight \(Placeholder\)"):
            import_torch(file, NAME, "none", trust=True)
    assert not (tmp_path / "marker").exists()


def test_a_program_that_only_pytorch_sees_is_refused(file, torch):
    """Two directories of members: zipfile reads the one next to the end, PyTorch the one that the end points to."""

    def packed(members):
        write_archive(file, members)
        content = file.read_bytes()
        begin = content.index(b"PK\x01\x02")
        return content[:begin], bytearray(content[begin : content.rindex(b"PK\x05\x06")])

    members = {"data.pkl": pickled({}), "constants.pkl": pickled(()), "version": b"3", "data/0": bytes(2**10)}
    program, shown_there = packed(members)
    state, shown_here = packed({"data.pkl": pickled(Global("argparse", "Namespace"))})
    filling = len(shown_there) - len(shown_here)
    struct.pack_into("<H", shown_here, 32, filling)  # a comment makes both of one length
    struct.pack_into(
        "<I", shown_here, 42, len(program) - len(shown_there)
    )  # which zipfile takes for something in front
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 4, 4, len(shown_there), len(program) + len(state), 0)
    file.write_bytes(program + state + shown_there + shown_here + bytes(filling) + end)
    assert zipfile.ZipFile(file).namelist() == ["archive/data.pkl"]
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="is a TorchScript program; save its state_dict"):
        import_torch(file, NAME, "none", trust=True)


def test_a_file_that_contains_itself_is_refused(file, torch):
    content = {"state_dict": tensors(torch), "arguments": argparse.Namespace()}
    content["self"] = content
    torch.save(content, file)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="cannot read .*RecursionError"):
        import_torch(file, NAME, "none", trust=True)


def test_a_sign_still_to_be_applied_is_applied_with_trust(file, torch, plain):
    state = tensors(torch)
    state["fc.bias"] = torch.complex(torch.zeros(10), -state["fc.bias"]).conj().imag
    assert state["fc.bias"].is_neg()
    torch.save(state, file)
    with pytest.raises(ValueError, match="marked as the negative"):
        import_torch(file, NAME, "none")
    torch.save({"arguments": argparse.Namespace(), "state_dict": state}, file)
    with pytest.warns(UserWarning):
        assert import_torch(file, NAME, "none", trust=True).hash == plain.hash


def test_a_whole_model_is_refused(file, torch):
    torch.save(torch.nn.Linear(2, 3), file)
    with pytest.raises(ValueError, match="it names 'torch.nn.modules.linear.Linear'"):
        import_torch(file, NAME, "none")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="a whole model, an object of a foreign class"):
        import_torch(file, NAME, "none", trust=True)


def test_trust_without_pytorch_says_what_is_missing(file, monkeypatch):
    write_pt(file, {"state_dict": STATE, "args": Global("argparse", "Namespace")})
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match="can only be read by PyTorch, which is not installed: pip install"):
        import_torch(file, NAME, "none", trust=True)


def test_a_plain_file_needs_no_pytorch_even_with_trust(file, plain, monkeypatch, recwarn):
    monkeypatch.setitem(sys.modules, "torch", None)
    write_pt(file, STATE)
    assert import_torch(file, NAME, "none", trust=True).hash == plain.hash
    assert not [warning for warning in recwarn if "trust" in str(warning.message)]
