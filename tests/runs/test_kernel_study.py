"""A study keeps every architecture as soon as it is done, and scores none twice."""

import numpy as np
import pytest

from rnas.artifacts.kernel_results import KernelSettings
from rnas.data import load_dataset
from rnas.runs import kernel_study as study
from rnas.runs.kernel_study import run_study


@pytest.fixture
def scored(monkeypatch):
    """Ids in the order they were scored; a score is the id, and cell 7 is interrupted."""
    found = []

    def scorer(dataset, chosen, settings):
        def score(number):
            if number == 7:
                raise KeyboardInterrupt
            found.append(number)
            size = len(settings.scores)
            return np.full(size, float(number)), np.full((settings.initialisations, size), float(number))

        return score

    monkeypatch.setattr(study, "_scorer", scorer)
    return found


def test_a_stopped_study_goes_on(tmp_path_factory, tmp_path, scored):
    dataset = load_dataset("digits", data_dir=tmp_path_factory.mktemp("data"), held_out=0, seed=0)
    settings = KernelSettings(images=20, initialisations=2)
    with pytest.raises(KeyboardInterrupt):
        run_study(dataset, [9, 3, 7, 5, 3], settings, tmp_path)
    assert scored == [3, 5]
    counted = []
    found = run_study(dataset, [9, 5, 3], settings, tmp_path, counted.append)
    assert scored == [3, 5, 9] and counted == [1, 2, 3]
    assert [cell.id for cell in found.architectures] == [3, 5, 9]
    for cell in found.architectures:
        assert cell.scores == dict.fromkeys(settings.scores, cell.id) and cell.std == dict.fromkeys(settings.scores, 0)
    assert found.seconds["total"] > 0 and found.cpu_seconds["total"] >= 0
    assert np.bincount(dataset.train.labels[list(found.image_ids)]).tolist() == [2] * 10
    with pytest.raises(ValueError, match="settings"):
        run_study(dataset, [3], KernelSettings(images=20, initialisations=2, seed=1), tmp_path)
