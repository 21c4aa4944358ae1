"""What a run prints at its end."""

from rnas.runs.system import headline


def test_models_that_met_fewer_attacks_have_gaps():
    student = {"clean": {"accuracy": 0.98}, "pgd_100": {"accuracy": 0.5}, "auto_attack": {"accuracy": 0.4375}}
    other = {"clean": {"accuracy": 1.0}, "pgd_100": {"accuracy": 0.25}}
    shown = headline({**student, "epsilons": {}, "models": {"student": student, "student_last": other}})
    assert [line.split() for line in shown.splitlines()] == [
        ["accuracy,", "%", "clean", "pgd_100", "auto_attack"],
        ["student", "98.00", "50.00", "43.75"],
        ["student_last", "100.00", "25.00", "-"],
    ]
    assert len({len(line) for line in shown.splitlines()}) == 1
