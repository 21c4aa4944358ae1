"""The range of every number, by the name of its key: a name means the same quantity in every section.

Where a section is narrower, more of the dotted key stands here. Lengths are strings such as '8/255'.
"""

from rnas.config.ranges import LENGTH, at_least, more_than, within

SHARE = within(0, 1)
DECAY = within(0, 1, without=(1,))  # of a moving average, and of a share that cannot be everything
SEED = within(0, 2**32 - 1)

RANGES = {
    # Lengths.
    "epsilon": LENGTH,
    "epsilons": LENGTH,
    "curve": LENGTH,
    "step_size": LENGTH,
    # Time.
    "epochs": at_least(1),
    "finetune.epochs": at_least(0),
    "every_epochs": at_least(1),
    "first_epoch": at_least(0),
    "stage1_epochs": at_least(0),
    "arch_warmup_epochs": at_least(0),
    "milestones": at_least(1),
    "steps": at_least(1),
    "log_every_steps": at_least(1),
    "checkpoint_every_steps": at_least(1),
    # Numbers of things.
    "batch_size": at_least(1),
    "side_by_side": at_least(1),
    "count": at_least(0),
    "auto_attack_count": at_least(0),
    "train_count": at_least(0),
    "held_out": at_least(0),
    "workers": at_least(0),
    "calibration": at_least(1),
    "views": at_least(0),
    "resident_gib": at_least(0),
    "num_classes": within(2, 10**6),
    "class_ids": at_least(0),
    "seed": SEED,
    "seeds": SEED,
    "auto_attack_seeds": SEED,
    # Images and networks.
    "image_shape": within(1, 2**14),
    "mean": SHARE,
    "std": within(0, 1, without=(0,)),
    "crop_padding": at_least(0),
    "cutout": at_least(0),
    "cutmix": SHARE,
    "extra_share": within(0, 1, without=(0, 1)),
    "size": within(1, 2**14),
    "channels": within(1, 2**14),
    "cells": within(1, 1000),
    "width_ratio": within(1, 1000),
    "drop_path": DECAY,
    "bn_momentum": DECAY,
    "weight_average": DECAY,
    "collapse": DECAY,
    "arch_fraction": SHARE,
    # Weights of terms, and what stands in them.
    "gamma": at_least(0),
    "kl_weight": at_least(0),
    "kl_scale": at_least(0),
    "adversarial_weight": at_least(0),
    "auxiliary": at_least(0),
    "weight": at_least(0),
    "robustness": at_least(0),
    "robust": SHARE,
    "natural": SHARE,
    "alpha": SHARE,
    "cost.alpha": at_least(0),
    "beta": at_least(0),
    "temperature": more_than(0),
    "smoothing": DECAY,
    "target": more_than(0),
    "tau.start": more_than(0),
    "decay": at_least(0),
    "tau.min": at_least(0),
    "finite_difference_radius": more_than(0),
    # Optimisers.
    "learning_rate": at_least(0),
    "rate": at_least(0),
    "peak": at_least(0),
    "l2": at_least(0),
    "momentum": DECAY,
    "betas": DECAY,
    "clip_norm": at_least(0),
    "final_factor": SHARE,
    "rise": within(0, 1, without=(0, 1)),
}
