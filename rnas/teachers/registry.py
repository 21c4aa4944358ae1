"""Published robust networks by the names of RobustBench (Croce et al. 2021, arXiv 2010.09670): what no file contains.

Figures are those of the benchmark's model cards, accuracy in percent on the test set; for ImageNet on 5,000 fixed
validation images. Nothing is downloaded from here: a user fetches a file from where it is published. All are in the
model zoo of github.com/RobustBench/robustbench; some have pages of their own, too: github.com/MadryLab/robustness
(Engstrom2019), google-deepmind/deepmind-research (adversarial_robustness; Gowal2020, Rebuffi2021),
microsoft/robust-models-transfer (Salman2020), wzekai99/DM-Improves-AT (Wang2023), csdongxian/AWP (Wu2020),
yaodongyu/TRADES (Zhang2019).
"""

import difflib
from typing import NamedTuple

# One row a network: of `Published`, name, architecture, normalization, [resize>]image_size, epsilon, clean, autoattack,
# external, paper.
_CIFAR10 = """
Bartoldson2024Adversarial_WRN-94-16  dm_wide_resnet_94_16     cifar10        32 8/255 93.68 73.71   -   2404.09349
Bartoldson2024Adversarial_WRN-82-8   dm_wide_resnet_82_8      cifar10        32 8/255 93.11 71.59   -   2404.09349
Peng2023Robust                       ra_wide_resnet_70_16     cifar10        32 8/255 93.27 71.07   -   2308.16258
Wang2023Better_WRN-70-16             dm_wide_resnet_70_16     cifar10        32 8/255 93.25 70.69   -   2302.04638
Wang2023Better_WRN-28-10             dm_wide_resnet_28_10     cifar10        32 8/255 92.44 67.31   -   2302.04638
Cui2023Decoupled_WRN-28-10           dm_wide_resnet_28_10     cifar10        32 8/255 92.16 67.73   -   2305.13948
Gowal2021Improving_70_16_ddpm_100m   dm_wide_resnet_70_16     cifar10        32 8/255 88.74 66.11 66.10 2110.09468
Gowal2021Improving_28_10_ddpm_100m   dm_wide_resnet_28_10     cifar10        32 8/255 87.50 63.44 63.38 2110.09468
Gowal2021Improving_R18_ddpm_100m     dm_preact_resnet18       cifar10        32 8/255 87.35 58.63 58.50 2110.09468
Gowal2020Uncovering_70_16_extra      dm_wide_resnet_70_16     cifar10        32 8/255 91.10 65.88 65.87 2010.03593
Gowal2020Uncovering_28_10_extra      dm_wide_resnet_28_10     cifar10        32 8/255 89.48 62.80 62.76 2010.03593
Gowal2020Uncovering_70_16            dm_wide_resnet_70_16     cifar10        32 8/255 85.29 57.20 57.14 2010.03593
Gowal2020Uncovering_34_20            dm_wide_resnet_34_20     cifar10        32 8/255 85.64 56.86 56.82 2010.03593
Rebuffi2021Fixing_70_16_cutmix_ddpm  dm_wide_resnet_70_16     cifar10        32 8/255 88.54 64.25 64.20 2103.01946
Rebuffi2021Fixing_28_10_cutmix_ddpm  dm_wide_resnet_28_10     cifar10        32 8/255 87.33 60.75 60.73 2103.01946
Rebuffi2021Fixing_R18_ddpm           dm_preact_resnet18       cifar10        32 8/255 83.53 56.66   -   2103.01946
Rade2021Helper_ddpm                  dm_wide_resnet_28_10     cifar10        32 8/255 88.16 60.97   -   BuD2LmNaU3a
Rade2021Helper_R18_ddpm              dm_preact_resnet18       cifar10        32 8/255 86.86 57.09   -   BuD2LmNaU3a
Carmon2019Unlabeled                  wide_resnet_28_10        none           32 8/255 89.69 59.53   -   1905.13736
Sehwag2021Proxy                      wide_resnet_34_10        none           32 8/255 86.68 60.27   -   2104.09425
Sehwag2021Proxy_R18                  resnet18                 none           32 8/255 84.59 55.54   -   2104.09425
Wu2020Adversarial                    wide_resnet_34_10        none           32 8/255 85.36 56.17   -   2004.05884
Wu2020Adversarial_extra              wide_resnet_28_10        none           32 8/255 88.25 60.04   -   2004.05884
Rice2020Overfitting                  wide_resnet_34_20        cifar10        32 8/255 85.34 53.42   -   2002.11569
Zhang2019Theoretically               wide_resnet_34_10        none           32 0.031 84.92 53.08   -   1901.08573
Addepalli2022Efficient_RN18          resnet18                 none           32 8/255 85.71 52.48   -   2210.15318
Engstrom2019Robustness               resnet50                 cifar10_madry  32 8/255 87.03 49.25   -   -
Andriushchenko2020Understanding      preact_resnet18_v1_nobn  none           32 8/255 79.84 43.93   -   2007.02617
Wong2020Fast                         preact_resnet18_v1_nobn  cifar10        32 8/255 83.34 43.21   -   2001.03994
"""
_CIFAR100 = """
Wang2023Better_WRN-70-16             dm_wide_resnet_70_16     cifar100       32 8/255 75.22 42.67 42.66 2302.04638
Wang2023Better_WRN-28-10             dm_wide_resnet_28_10     cifar100       32 8/255 72.58 38.83 38.77 2302.04638
Gowal2020Uncovering_extra            dm_wide_resnet_70_16     cifar100       32 8/255 69.15 36.88   -   2010.03593
Gowal2020Uncovering                  dm_wide_resnet_70_16     cifar100       32 8/255 60.86 30.03   -   2010.03593
Rebuffi2021Fixing_28_10_cutmix_ddpm  dm_wide_resnet_28_10     cifar100       32 8/255 62.41 32.06   -   2103.01946
Rade2021Helper_R18_ddpm              dm_preact_resnet18       cifar100       32 8/255 61.50 28.88   -   BuD2LmNaU3a
Wu2020Adversarial                    wide_resnet_34_10        cifar100_rice  32 8/255 60.38 28.86   -   2004.05884
Rice2020Overfitting                  preact_resnet18          cifar100_rice  32 8/255 53.83 18.95   -   2002.11569
"""
_IMAGENET = """
Salman2020Do_50_2                    imagenet_wide_resnet50_2 imagenet      256>224 4/255 68.46 38.14   -   2007.08489
Salman2020Do_R50                     imagenet_resnet50        imagenet      256>224 4/255 64.02 34.96   -   2007.08489
Salman2020Do_R18                     imagenet_resnet18        imagenet      256>224 4/255 52.92 25.32   -   2007.08489
Engstrom2019Robustness               imagenet_resnet50        imagenet      256>224 4/255 62.56 29.22   -   -
Wong2020Fast                         imagenet_resnet50        imagenet          288 4/255 55.62 26.24   -   2001.03994
"""


class Published(NamedTuple):
    """One network of the benchmark, trained against its radius.

    Attributes:
      dataset: cifar10, cifar100 or imagenet.
      name: in the benchmark, for its dataset.
      architecture: in `rnas.models`.
      normalization: in `rnas.teachers.normalization`.
      image_size: pixels a side.
      resize: pixels of the shorter side before images are cropped to that size; None if they are cropped as they are.
      epsilon: L∞ radius in pixel units, as text.
      clean, autoattack: accuracy, and that under AutoAttack at the radius, %.
      external: accuracy under a stronger attack, %; None where none is known.
      paper: where it is described; empty for what was published as code alone.
    """

    dataset: str
    name: str
    architecture: str
    normalization: str
    image_size: int
    resize: int | None
    epsilon: str
    clean: float
    autoattack: float
    external: float | None
    paper: str

    @property
    def key(self) -> str:
        """Dataset and name, together unique."""
        return f"{self.dataset}/{self.name}"

    @property
    def num_classes(self) -> int:
        return {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[self.dataset]


def _read(dataset: str, row: str) -> Published:
    name, architecture, normalization, sides, epsilon, clean, autoattack, external, paper = row.split()
    *resized, size = map(int, sides.split(">"))
    resize = resized[0] if resized else None
    figures = float(clean), float(autoattack), None if external == "-" else float(external)
    paper = {"-": "", "BuD2LmNaU3a": "openreview.net/forum?id=BuD2LmNaU3a"}.get(paper, f"arXiv {paper}")
    return Published(dataset, name, architecture, normalization, size, resize, epsilon, *figures, paper)


PUBLISHED = {
    entry.key: entry
    for dataset, table in (("cifar10", _CIFAR10), ("cifar100", _CIFAR100), ("imagenet", _IMAGENET))
    for entry in (_read(dataset, row) for row in table.strip().splitlines())
}


def find_published(name: str) -> Published:
    """The network of a name such as `cifar10/Rice2020Overfitting`; raises ValueError where it names none, or several.

    The dataset may be left out where only one has a network of the name.
    """
    found = [entry for entry in PUBLISHED.values() if name in (entry.key, entry.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{name!r} is published for several datasets: {', '.join(entry.key for entry in found)}.")
    near = [key for key in PUBLISHED if name.lower() in key.lower()]
    near = near or difflib.get_close_matches(name, {entry.name for entry in PUBLISHED.values()}, n=4, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the names are {', '.join(PUBLISHED)}."
    raise ValueError(f"no published network is named {name!r}; {hint}")
