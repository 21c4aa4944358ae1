"""Files of the table: every name of a cell finds its figures, and an incomplete file is refused by name."""

import hashlib

import numpy as np
import pytest

from rnas.spaces.nasbench201 import SIZE, canonical, cost, encode, representatives, to_code, to_string
from rnas.tabular import load_robbench
from rnas.tabular.column_attacks import column_label
from rnas.tabular.table import METRICS, TASKS

ALIAS = 15608  # of id 58


@pytest.fixture(scope="module")
def table(file):
    return load_robbench(file)


# -- queries ---------------------------------------------------------------------------------------------


def test_every_name_of_a_cell_gives_its_row(table, means):
    columns = [(dataset, metric) for dataset in TASKS for metric in METRICS]
    for number, row in ((9930, means["9930"]), (ALIAS, means["58"])):
        assert means[str(ALIAS)] == "58"
        for arch in (
            number,
            str(number),
            to_code(number),
            to_string(number),
            f" {to_string(number)}\n",
            encode(number),
        ):
            assert [table.query(arch, *column) for column in columns] == row
    assert canonical("104141") == canonical(to_string(58)) == 58


def test_columns_follow_the_ids(table, means):
    assert len(table.ids) == 6466 and table.ids == tuple(sorted(table.ids))
    assert table.column("cifar100/pgd_3")[table.ids.index(58)] == means["58"][8]
    scores = table.scores("imagenet16/clean")
    assert scores.shape == (SIZE,)
    assert scores[ALIAS] == scores[58] == means["58"][12]


def test_costs_are_those_of_the_cell_itself(table):
    assert table.query("323133", "cifar10", "params") == 1_073_466
    assert table.query("333333", "cifar10", "macs") == 220_119_680
    # Of one class, but one of them carries a convolution that reads zeros.
    assert canonical("023303") == canonical("020303")
    assert table.query("023303", "cifar10", "macs") > table.query("020303", "cifar10", "macs")
    assert table.query(0, "imagenet16", "macs") == cost(encode(0), image_size=16, num_classes=120)
    assert table.scores("cifar10/macs")[9930] == -table.query(9930, "cifar10", "macs")
    assert table.column("cifar10/macs")[table.ids.index(9930)] == table.query(9930, "cifar10", "macs")


@pytest.mark.parametrize(
    ("arch", "dataset", "metric", "message"),
    [
        (15_625, "cifar10", "clean", "the nearest is 15624"),
        ("333153", "cifar10", "clean", "The nearest code is '333143'"),
        (0, "cifar", "clean", "no column 'cifar/clean'; the nearest is 'cifar10/clean'"),
        (0, "imagenet", "pgd_8", "the nearest is 'imagenet16/pgd_8'. Data sets: cifar10, cifar100, imagenet16"),
        (0, "cifar10", "pgd8", "the nearest is 'cifar10/pgd_8'.*; metrics of cifar10: clean, fgsm_3,"),
    ],
)
def test_what_is_not_in_the_table_is_named(table, arch, dataset, metric, message):
    with pytest.raises(ValueError, match=message):
        table.query(arch, dataset, metric)


def test_a_table_of_means_has_no_runs(table):
    with pytest.raises(ValueError, match="cifar10/clean has no run of seed 1; only means"):
        table.query(0, "cifar10", "clean", seed=1)


# -- files of means --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["acc=", "acc = ", "var acc=", ""])
def test_forms_of_the_assignment(tmp_path, means, write, prefix):
    path = write(tmp_path / "table.js", means, prefix)
    path.write_text(path.read_text() + ";\n")
    table = load_robbench(path)
    assert table.query("333133", "cifar10", "clean") == means["9930"][0]
    assert table.source == str(path) and table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_stands_for_its_table(file, table, tmp_path):
    assert load_robbench(file.parent).source == str(file)
    with pytest.raises(ValueError, match="holds 0 tables; expected one of NAS-RobBench-201_html.json"):
        load_robbench(tmp_path)
    with pytest.raises(ValueError, match="no table at .*none.json; download it from the project page .* https://"):
        load_robbench(tmp_path / "none.json")


def test_the_table_after_standard_training_is_joined(file, tmp_path, write, table_of_means, standard_names, means):
    standard = table_of_means(standard_names, seed=1, alias=int)
    path = write(tmp_path / "acc.json", standard)
    joined = load_robbench(file, standard=path)
    assert joined.query(ALIAS, "cifar10", "standard_pgd") == standard["58"][4]
    assert joined.query(58, "imagenet16", "standard_clean") == standard["58"][12]
    assert joined.query(ALIAS, "cifar10", "pgd_8") == means["58"][4]
    with pytest.raises(ValueError, match="no column 'imagenet16/standard_corruptions'"):
        joined.query(0, "imagenet16", "standard_corruptions")
    with pytest.raises(ValueError, match="is the table after standard training; give it as standard=FILE"):
        load_robbench(path)
    with pytest.raises(ValueError, match="of another version: it has 18 columns, expected 17"):
        load_robbench(file, standard=file)


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.3, 0.999])
def test_a_truncated_download_is_refused(file, tmp_path, share):
    data = file.read_bytes()
    path = tmp_path / "table.json"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"table.json, [\d,]+ bytes, is not readable as JSON: .* incomplete"):
        load_robbench(path)


@pytest.mark.parametrize(
    "text", ["<html>too many requests</html>", b"\xff\xfe", "[]", "3", '["421211"]', "{}", '{"a": 1}']
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match="table.json(, .* is not readable| is no table of NAS-RobBench-201)"):
        load_robbench(path)


def without_column(content, names):
    for number, entry in content.items():
        if number and isinstance(entry, list):
            content[number] = entry[:17]
    content[""] = names[:17]


def other_order(content, names):
    content["14"], content["15609"] = "15609", content["14"]


def wrong_alias(content, names):
    content["15608"] = "57"


def row_for_alias(content, names):
    content["15608"] = content["58"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_column, "it has 17 columns, expected 18; missing: imagenet#autoattack; unknown: none"),
        (lambda c, n: c.update({"": [*n[:17], "imagenet#aa"]}), "missing: imagenet#autoattack; unknown: imagenet#aa"),
        (lambda c, n: c.update({"": [*n, n[0]]}), "it has 19 columns, expected 18"),
        (lambda c, n: c.update({"": 18}), "expected names of columns"),
        (lambda c, n: c.pop("777"), "has 15,624 ids, NAS-Bench-201 has 15,625; the first that is missing is '777'"),
        (lambda c, n: c.update({"15625": "3"}), "has 15,626 ids.* the first that is unknown is '15625'"),
        (other_order, "id 14 is listed as id 15609, but in the order of NAS-Bench-201 it stands for its class"),
        (wrong_alias, "id 15608 is listed as id 57, but .* its class is that of id 58"),
        (row_for_alias, "id 15608 has a row of its own, but .* its class is that of id 58"),
        (lambda c, n: c.update({"58": c["58"][:-1]}), "id 58 has 17 figures, expected 18"),
        (lambda c, n: c["58"].__setitem__(0, 70.1), "cifar10#val_acc of id 58 is 70.1, expected an accuracy"),
        (lambda c, n: c["58"].__setitem__(0, float("nan")), "nan is no number"),
        (lambda c, n: c["58"].__setitem__(0, None), "of id 58 is None"),
        (lambda c, n: c["58"].__setitem__(0, True), "of id 58 is True"),
    ],
)  # fmt: skip
def test_another_version_is_refused(tmp_path, means, write, change, message):
    content = {key: list(entry) if isinstance(entry, list) else entry for key, entry in means.items()}
    change(content, means[""])
    with pytest.raises(ValueError, match=message):
        load_robbench(write(tmp_path / "table.json", content))


# -- files of runs ---------------------------------------------------------------------------------------

RUN_METRICS = ("val_acc", "val_fgsm_3.0_acc", "val_pgd_3.0_acc", "val_fgsm_8.0_acc", "val_pgd_8.0_acc")


def runs_of(number, with_mean=True):
    """Figures of one cell, as the table of runs has them; the mean is one that no three runs have."""
    share = number / SIZE / 2
    runs = {"0": share, "1": share + 0.1, "2": share + 0.5}
    metrics = {metric: {**runs, **({"threeseed": share + 0.3} if with_mean else {})} for metric in RUN_METRICS}
    return {**metrics, "autoattack": share}


def test_runs(tmp_path, write):
    numbers = np.unique(representatives()).tolist()
    content = {dataset: {str(n): runs_of(n) for n in numbers} for dataset in ("cifar10", "cifar100", "imagenet")}
    table = load_robbench(write(tmp_path / "NAS-RobBench-201_all.json", content, prefix="").parent)
    assert len(table.ids) == 6466 and not table.seeds.get("cifar10/autoattack")
    share = 58 / SIZE / 2
    assert table.query(ALIAS, "imagenet16", "pgd_8") == share + 0.3
    assert [table.query(ALIAS, "cifar10", "fgsm_3", seed=seed) for seed in (0, "1", 2)] == [
        share,
        share + 0.1,
        share + 0.5,
    ]
    assert table.query(ALIAS, "cifar100", "autoattack") == share
    with pytest.raises(ValueError, match="cifar10/clean has no run of seed 3; there are 0, 1, 2"):
        table.query(58, "cifar10", "clean", seed=3)


def test_a_part_of_a_table_of_runs(tmp_path, write):
    content = {"cifar10": {"58": runs_of(58, with_mean=False), "0": {"val_acc": {"7": 0.25}}}}
    path = write(tmp_path / "mine.json", content, prefix="")
    with pytest.raises(ValueError, match="evaluates 2 of 6,466 classes; missing .*: cifar100/clean,.*partial=True"):
        load_robbench(path)
    table = load_robbench(path, partial=True)
    assert table.ids == (0, 58) and table.datasets == ("cifar10",)
    assert table.query("104141", "cifar10", "clean") == pytest.approx(58 / SIZE / 2 + 0.2)  # mean of 0, .1, .5
    assert table.query("421211", "cifar10", "clean", seed=7) == 0.25
    with pytest.raises(ValueError, match="no cifar10/pgd_8 of id 0, .* evaluated for 1 classes"):
        table.query(0, "cifar10", "pgd_8")
    with pytest.raises(ValueError, match="no cifar10/clean of id 9930, which stands for '333133'"):
        table.query("333133", "cifar10", "clean")
    with pytest.raises(ValueError, match="lacks cifar10/clean of .* a search needs a complete table"):
        table.scores("cifar10/clean")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cifar10": {"15608": runs_of(3)}}, "evaluates id 15608, whose class is that of id 58"),
        ({"cifar10": {"15625": runs_of(3)}}, "id 15625 is out of range"),
        ({"cifar10": {"58": {"val_pgd_8_acc": {"0": 0.1}}}}, "the metric 'val_pgd_8_acc'; known: .*val_pgd_8.0_acc"),
        ({"cifar10": {"58": {"val_acc": {"0": 71.0}}}}, "cifar10 val_acc of id 58 is 71.0"),
        ({"cifar10": {"58": {"val_acc": {}}}}, "expected data set → id → metric → seed → accuracy, found '{}'"),
        ({"cifar10": {"58": 0.5}}, "found '0.5'"),
        ({"cifar10": {}}, "found '{}'"),
        ({"svhn": {"58": runs_of(3)}}, "is no table of NAS-RobBench-201"),
    ],
)  # fmt: skip
def test_what_are_no_runs_is_refused(tmp_path, write, content, message):
    with pytest.raises(ValueError, match=message):
        load_robbench(write(tmp_path / "runs.json", content, prefix=""), partial=True)


def test_every_attack_of_a_column_has_a_label_of_its_own():
    labels = {metric: column_label(metric) for metric in METRICS}
    assert len(set(labels.values())) == len(METRICS)
    assert labels["pgd_8"] == ("PGD-20 (step ε/8)", "ε = 8/255") and labels["clean"] == ("clean", "")
    assert column_label("standard_pgd") == ("standard_pgd", "")
