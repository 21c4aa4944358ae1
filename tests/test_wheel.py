"""What is built to be installed holds all that the commands need."""

import json
from pathlib import Path
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The source distribution."""
    pytest.importorskip("setuptools", reason="pip install setuptools")
    checkout, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("sdist")
    for name in ("rnas", "configs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
    (archive,) = folder.glob("rnas-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def site(source, tmp_path_factory) -> Path:
    """The content of the wheel of the source distribution, unpacked far from the checkout."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"no wheel could be built here: {built.stderr.strip().splitlines()[-1]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


PROGRAM = """
import sys
site = sys.argv.pop(1)
sys.path.insert(0, site)
import rnas.main
assert rnas.__file__.startswith(site)
sys.exit(rnas.main.main())
"""


def rnas(site: Path, folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, site, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_configurations_are_in_it(site, tmp_path):
    names = [each["name"] for each in json.loads(rnas(site, tmp_path, "configs", "--json"))["configurations"]]
    files = [path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py")]
    assert names == sorted(path.with_suffix("").as_posix() for path in files)
    found = json.loads(rnas(site, tmp_path, "config", "--config=rnas_cl/cifar10:s7", "--json"))
    assert found["space"] == "s7"


def test_nothing_but_the_package_is_in_it(site):
    assert {path.name for path in site.iterdir() if not path.name.startswith("rnas-")} == {"rnas"}
    for needed in ("py.typed", "pages/templates", "teachers/shipped/fashion_mnist/teacher.json"):
        assert (site / "rnas" / needed).exists(), needed


def test_the_main_job_runs(site, tmp_path):
    rnas(site, tmp_path, "run", "--config=rnas_cl/digits:smoke")
    assert (tmp_path / "runs" / "rnas_cl" / "digits_smoke" / "report.html").is_file()
