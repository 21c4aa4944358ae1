"""Names that configuration files enumerate; tests hold them equal to what the program registers under these names.

A run checks a name against the registry itself, so a method that someone adds needs no entry here.
"""

# Adversarial methods.
METHODS = ("none", "pgd_at", "trades", "mart", "score", "ard", "rslad", "akd2", "iad_1", "iad_2", "mtard")
BASELINES = ("no_distillation", "plain", *METHODS[1:], "pgd_at_awp", "trades_awp")
