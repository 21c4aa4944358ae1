"""The verdict of one sanity check."""

from dataclasses import dataclass

STATUSES = ("skipped", "passed", "warning", "failed")  # from best to worst


@dataclass(frozen=True)
class Check:
    """The verdict of one check.

    Attributes:
      letter: 'A' to 'K'.
      name: in a word or two.
      status: one of `STATUSES`.
      figure: what the verdict rests on, in words with numbers.
      advice: what it means and what to do next; empty unless 'warning' or 'failed'.
    """

    letter: str
    name: str
    status: str
    figure: str
    advice: str = ""

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, expected one of {', '.join(STATUSES)}")
