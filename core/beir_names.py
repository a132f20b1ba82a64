"""Datasets of BEIR by name, fetched once by the package `beir`."""

from __future__ import annotations

import difflib
import os
import zipfile
from pathlib import Path
from urllib.request import Request, urlopen

from .errors import MissingExtraError, PyriteError
from .hub_set import folder_set, hub_set
from .hub_tables import SCHEME
from .store import publish, scratch_folder

URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/{}.zip"
NAMES = (
    "arguana",
    "climate-fever",
    "cqadupstack",
    "dbpedia-entity",
    "fever",
    "fiqa",
    "hotpotqa",
    "msmarco",
    "nfcorpus",
    "nq",
    "quora",
    "scidocs",
    "scifact",
    "trec-covid",
    "webis-touche2020",
)
_SECONDS = 20  # until the host counts as unreachable


def find_folder(path: str, cache: Path) -> Path:
    """The BEIR folder of `dataset.path`: `path` if it is one, or one that is made of what it names.

    That is BEIR's dataset of that name, `hf://datasets/OWNER/NAME`, or a folder with tables as the
    hub has them. Raises PyriteError if there is none, or if the host cannot be reached.
    """
    if path.startswith(SCHEME):
        return hub_set(path, cache)
    folder = Path(path)
    if folder.is_dir() and not (folder / "corpus.jsonl").is_file():
        return folder_set(folder, cache) or folder
    if folder.is_dir() or folder.name != path:
        return folder
    if path not in NAMES:
        close = difflib.get_close_matches(path.lower(), NAMES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"BEIR has {', '.join(NAMES)}"
        raise PyriteError(
            f"{path}: no such dataset folder, and no public dataset of BEIR is called so; set"
            f" dataset.path to a BEIR folder or such a name ({hint})"
        )
    fetched = cache / "datasets" / "beir" / path
    if not fetched.is_dir():
        _fetch(path, fetched)
    return fetched


def _fetch(name: str, target: Path) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise _unreachable(name, "HF_HUB_OFFLINE is set")
    try:
        from beir.util import download_and_unzip
    except ImportError as error:
        raise MissingExtraError(f"dataset.path={name}", "beir", "beir") from error
    url = URL.format(name)
    with scratch_folder(target) as scratch:
        try:
            # beir itself would wait without end, and keep a page that says 404 as the archive
            urlopen(Request(url, method="HEAD"), timeout=_SECONDS).close()
            unpacked = Path(download_and_unzip(url, str(scratch)))
        except (OSError, zipfile.BadZipFile) as error:
            raise _unreachable(name, " ".join(str(error).split())[:160]) from error
        publish(unpacked, target)


def _unreachable(name: str, reason: str) -> PyriteError:
    return PyriteError(
        f"dataset.path={name}: cannot be fetched from the host of BEIR ({reason}); fetch it where"
        " there is a network and set dataset.path to its folder"
    )
