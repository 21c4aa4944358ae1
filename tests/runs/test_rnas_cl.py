"""What RNAS-CL makes of its configuration."""

import json
from pathlib import Path

import pytest

from rnas.artifacts.architecture import WidthArchitecture
from rnas.config.load import load_config
from rnas.runs.stages import open_run

CIFAR10 = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "cifar10.py"


@pytest.mark.parametrize(("bias", "params"), [("true", 183_194), ("false", 179_386)])
def test_counts_in_the_file_follow_the_options_of_the_network(tmp_path, bias, params):
    config = load_config(f"{CIFAR10}:s3", [f"--config.conv_bias={bias}"])
    experiment = open_run(config, tmp_path)
    space = experiment.search.space
    largest = WidthArchitecture(space=space, widths=space.largest, image_shape=(32, 32, 3), num_classes=10)
    experiment.save_architecture(largest)
    # Counted by hand from the macro table; without biases one number less for every channel of a convolution.
    assert json.loads((tmp_path / "architecture.json").read_text())["params"] == params
