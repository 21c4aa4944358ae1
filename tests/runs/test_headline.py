"""What a run prints at its end."""

import dataclasses

from rnas.artifacts.evaluation import Evaluation, ModelScores
from rnas.artifacts.scores import AttackScore, CorruptionScore, Score
from rnas.runs.headline import headline


def test_models_that_met_fewer_attacks_have_gaps():
    def scores(clean, **attacks):
        counts = {"auto_attack": 8}  # of the first images alone
        met = {name: AttackScore(accuracy, counts.get(name, 16), (0.0, 1.0)) for name, accuracy in attacks.items()}
        return ModelScores("student", "Student", None, None, Score(clean, 16, (0.0, 1.0)), met)

    student, other = scores(0.98, pgd_100=0.5, auto_attack=0.4375), scores(1.0, pgd_100=0.25)
    shown = headline(Evaluation({"student": student, "student_last": other}, {}, "linf", 0, {}))
    assert [line.split() for line in shown.splitlines()] == [
        ["accuracy,", "%", "clean", "pgd_100", "auto_attack"],
        ["student", "98.00", "50.00", "43.75", "of", "8"],
        ["student_last", "100.00", "25.00", "-"],
    ]
    assert len({len(line) for line in shown.splitlines()}) == 1


def test_corruptions_come_last():
    clean, under = Score(0.9, 16, (0.0, 1.0)), AttackScore(0.5, 16, (0.0, 1.0))
    scores = ModelScores("student", "Student", None, None, clean, {"pgd_100": under})
    other = dataclasses.replace(scores, corruptions=CorruptionScore(0.755, 14, 16, "computed"))
    shown = headline(Evaluation({"student": scores, "teacher": other}, {}, "linf", 0, {})).splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["student", "90.00", "50.00", "-"],
        ["teacher", "90.00", "50.00", "75.50"],
    ]
    assert shown[0].split()[-1] == "corruptions"
