"""What a notebook shows of a run or a study: the first part of its page, without files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnas.pages.run_page import run_context
from rnas.pages.site import render
from rnas.pages.study_page import study_context


def run_summary(workdir: str | Path) -> str:
    """HTML with the accuracies of a run and its network, as far as it has come; raises ValueError as `write_report`."""
    context = run_context(workdir)
    results, network = (_content(context, name) for name in ("results", "network"))
    cells = [picture for _, picture in network.get("cells", ())]
    return _render(context, results.get("tables", ()), [network.get("drawing"), *cells], Path(workdir) / "report.html")


def study_summary(workdir: str | Path) -> str:
    """HTML with the arms of a study and their differences; raises ValueError as `write_study_page`."""
    context = study_context(Path(workdir))
    forest = _content(context, "differences").get("forest")
    table = context["sections"]["arms"].content
    return _render(context, [table], [forest], Path(workdir) / "study.html", context["lead"])


def _content(context: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    return context["sections"][section].content if section in context["sections"] else {}


def _render(context: Mapping[str, Any], tables: Any, pictures: Any, page: Path, lead: str = "") -> str:
    shown = {
        "title": context["title"],
        "lead": lead,
        "tables": tables,
        "pictures": [picture for picture in pictures if picture],
        "page": page if page.exists() else None,
    }
    return render("summary.html", shown)
