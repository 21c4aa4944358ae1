"""The page of a search among the cells of NAS-Bench-201: the cell, how it was chosen, in the words of its space."""

import json

import numpy as np
import pytest

from rnas.spaces.nasbench201 import OPERATIONS

CODE = "324102"


def rows():
    for epoch in range(3):
        row = {"stage": "search", "split": "architecture", "step": epoch, "epoch": float(epoch), "time": 1.0}
        for edge, digit in enumerate(CODE):
            weights = np.exp(epoch * (np.arange(5) == int(digit)))
            row |= {
                f"cell/{edge}/{name}": float(weight)
                for name, weight in zip(OPERATIONS, weights / weights.sum(), strict=True)
            }
        yield row


@pytest.fixture
def workdir(write_cells, cell_config, cell_evaluation):
    architecture = {
        "format": 1, "space": "nasbench201", "code": CODE, "channels": 8, "cells": 1, "image_shape": [8, 8, 1],
        "num_classes": 10, "params": 1234, "macs": 56789, "origin": {"method": "arnas"},
    }  # fmt: skip
    config = cell_config | {"space": "nasbench201"}
    folder = write_cells("run", (), list(rows()), architecture=architecture, config=config, evaluation=cell_evaluation)
    for path in (folder / "architectures").glob("*.json"):
        path.write_text(json.dumps(architecture | {"code": "333133", "origin": {"method": "random"}}))
    return folder


def test_the_page_shows_the_cell_and_how_it_was_chosen(workdir, page_of):
    page = page_of(workdir)
    said = page.said()
    assert (
        "space nasbench201" in said and "node 3 is the output" in said and "outputs of the two cells before" not in said
    )
    alts = [image["alt"] for image in page.all("img")]
    cell = "conv 3\u00d73 from 0 to 1, conv 1\u00d71 from 0 to 2, avg 3\u00d73 from 1 to 2, skip from 0 to 3"
    assert sum(alt.startswith(f"The cell: {cell}") for alt in alts) == 1
    choice = next(alt for alt in alts if alt.startswith("Probability of every operation on every edge of the cell"))
    top = np.exp(2) / (np.exp(2) + 4)
    assert f"kept: conv 3\u00d73 from 0 to 1 {top:.2f}, conv 1\u00d71 from 0 to 2 {top:.2f}" in choice
    words = [row for row in page.rows if row and row[0].strip() == "cell"]
    assert [len(row) for row in words] == [4] and "avg 3\u00d73 from 1" in " ".join(words[0][2].split())
