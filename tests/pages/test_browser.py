"""Pages in a browser: nothing scrolls sideways but tables and wide pictures in frames of their own."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# A page that is wider than the window makes its root element wider; the probe tells it by the title.
PROBE = "<script>document.title = `${document.documentElement.scrollWidth} of ${window.innerWidth}`</script></body>"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]


@pytest.fixture(params=["finished", "searched", "attacked"])
def page(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("width", [400, 1200])
def test_no_page_scrolls_sideways(page, tmp_path, width):
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    # Everything that a reader can unfold is unfolded.
    text = text.replace("<details>", "<details open>").replace("</body>", PROBE)
    framed = tmp_path / "page.html"
    framed.write_text(text, encoding="utf-8")
    # A window of a headless browser is never narrower than 500 pixels; a frame can be.
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<iframe src="page.html" width="{width}" height="800" style="border:0"></iframe>'
        "<script>window.onload = () => { const page = document.querySelector('iframe').contentDocument;"
        "document.body.append(`widths ${page.title}`) }</script>"
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--window-size=1400,900", "--virtual-time-budget=5000", "--dump-dom", outer.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    scroll, inner = map(int, re.search(r"widths (\d+) of (\d+)", shown).groups())
    assert inner == width and scroll <= inner


def test_no_script_and_no_remote_address(page):
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and not re.search(r"\son\w+=", text)
    assert not re.search(r'(?:src|href|action)="(?!data:|#|report/)', text)
    assert "url(" not in text and "@import" not in text and "//" not in re.sub(r'src="data:[^"]*"', "", text)
