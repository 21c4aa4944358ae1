"""Names that configuration files enumerate; tests hold them equal to what the program registers under these names.

A run checks a name against the registry itself, so a method that someone adds needs no entry here.
"""

# Adversarial methods.
METHODS = ("none", "pgd_at", "trades", "mart", "score", "ard", "rslad", "akd2", "iad_1", "iad_2", "mtard")
BASELINES = ("no_distillation", "plain", *METHODS[1:], "pgd_at_awp", "trades_awp")

# Attacks of every table, weakest first (arXiv 2301.08092; PGD-100 is ours), without random starts beyond the first.
ATTACKS = "fgsm,mim_20_step_0.8,pgd_20_step_0.8,pgd_20,cw_20,pgd_100"

# Arms of a study whose student learns by KL and attention from the tutors that its search chose, and their comparisons.
STUDY_ARMS = (
    "plain",
    "kl_only",
    "attention_only",
    *(f"attention_only+tutors_{name}" for name in ("random_0", "random_1", "same_depth", "robust")),
)
STUDY_COMPARISONS = (
    "student : kl_only",
    "attention_only : plain",
    *(f"attention_only : {arm}" for arm in STUDY_ARMS[3:]),
    "kl_only : plain",
)
