"""The built documentation: no warning, and nothing on its pages that comes from a network."""

from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_site_needs_no_network(tmp_path):
    pytest.importorskip("material", reason="MkDocs is not installed (extra `docs`)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    pages = sorted(tmp_path.rglob("*.html"))
    assert {"index.html", "configuration.html", "results.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(script|link|img|iframe)\b[^>]*(src|href)=\"?(https?:)?//", text), page
    assert "adversarial.attack_bn" in (tmp_path / "configuration.html").read_text(encoding="utf-8")
