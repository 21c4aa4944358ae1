"""Data sets of the Hugging Face Hub, fetched as parquet files by `huggingface_hub` (extra `hf`)."""

from pathlib import Path
import re

CONVERTED = "refs/convert/parquet"  # the branch where the Hub keeps each set as CONFIG/PART/NNNN.parquet


def fetch(name: str) -> Path:
    """Fetches `owner/name` or `owner/name/config` into the cache of the Hub; returns a folder of parquet files.

    Raises ValueError where there is no such set, it has several configurations and none is named, the Hub keeps only
    a part of it as parquet, or the Hub cannot be reached.
    """
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise ValueError("hf:NAME needs huggingface_hub: pip install 'rnas[hf]'.") from error
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/([\w.+-]+))?", name)
    if not match:
        raise ValueError(f"hf:{name}: expected hf:OWNER/NAME or hf:OWNER/NAME/CONFIG, such as hf:ylecun/mnist.")
    repository, config = match.groups()
    try:
        files = hub.list_repo_files(repository, repo_type="dataset", revision=CONVERTED)
        folders: dict[str, set[str]] = {}
        for file in files:
            if len(places := file.split("/")) == 3 and places[2].endswith(".parquet"):
                folders.setdefault(places[0], set()).add(places[1])
        if config is None and len(folders) == 1:
            (config,) = folders
        if config not in folders:
            known = ", ".join(sorted(folders)) or "none"
            raise ValueError(
                f"hf:{name}: {repository} has the configurations {known}; name one: hf:{repository}/CONFIG."
            )
        if cut := [part for part in folders[config] if part.startswith("partial-")]:
            raise ValueError(f"hf:{name}: the Hub keeps only the beginning as parquet ({cut[0]}); fetch it as files.")
        folder = hub.snapshot_download(
            repository, repo_type="dataset", revision=CONVERTED, allow_patterns=[f"{config}/*/*.parquet"]
        )
    except Exception as error:  # of the network, of the Hub and of the disk: they share no base class
        if type(error) is ValueError:
            raise
        raise ValueError(f"hf:{name} cannot be fetched: {' '.join(str(error).split())[:300]}") from error
    return Path(folder) / config
