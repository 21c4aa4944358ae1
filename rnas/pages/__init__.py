"""Pages: tables, figures and the protocol of a run, an attack, a table or a study, in one HTML file without network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnas.artifacts.files import read_json
from rnas.pages.attack_page import write_attack_page
from rnas.pages.run_page import write_run_page

__all__ = ["write_attack_page", "write_report"]


def write_report(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html`, one file with everything in it, and its tables and figures as files under `report/`.

    What the run has not made yet is left out, and named as missing. The same files give the same bytes. The work
    directories of `rnas tabular train` and `rnas ntk` have pages of their own.

    Args:
        workdir: the work directory of a run, finished or not.
        beside: work directories of other runs, to show in one table with it; of a table in the making, a published one.

    Returns:
        The path of the page.

    Raises:
        ValueError: `workdir` holds no run, or one of its files cannot be read or contradicts itself (the
            message names the file); the same of a directory of `beside`, or one is given twice.
    """
    workdir = Path(workdir)
    if (workdir / "ntk.json").exists():
        from rnas.pages.kernel_page import write_study_page

        if beside:
            raise ValueError(f"{workdir} holds a study of tangent kernels; nothing can stand beside it.")
        return write_study_page(workdir)
    config = workdir / "config.json"
    if config.exists() and isinstance(content := read_json(config), dict) and content.get("system") == "robbench":
        from rnas.pages.table_page import write_training_page

        return write_training_page(workdir, beside)
    return write_run_page(workdir, beside)
