"""A conversion needs no more memory than docs/formats.md says, however large its file is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROWS, NEGATIVES, LETTERS = 18_000, 7, 1_300
BOUND = 160 << 20
# what libraries set up at the first conversion is not the file's
CHILD = """
import sys
from pathlib import Path
from pyrite import convert
small, path, out, to = sys.argv[1:]
convert(small, Path(out).with_name("warm-" + Path(out).name), to)
print("warm", flush=True)
sys.stdin.readline()
convert(path, Path(out), to)
"""


def write_rows(path: Path, count: int) -> None:
    words = " ".join(f"word{at}" for at in range(LETTERS // 7))
    with path.open("w", encoding="utf-8") as handle:
        for row in range(count):
            texts = [f"{row} {at} {words}" for at in range(NEGATIVES + 1)]
            record = {"query": f"query {row}", "pos": texts[:1], "neg": texts[1:]}
            handle.write(json.dumps(record) + "\n")


def anonymous(process: int) -> int:
    """Bytes that the process owns: mapped files do not count."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("long")
    small, large = folder / "small.jsonl", folder / "large.jsonl"
    write_rows(small, 50)
    write_rows(large, ROWS)
    assert large.stat().st_size > BOUND
    return small, large


# the last two are joined by query, and made into tables once all is written
@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "beir", "run.jsonl", "jansowa"])
def test_the_peak_is_below_the_bound(files: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    small, large = files
    named = {"out.jsonl": "tevatron", "out.parquet": "parquet", "run.jsonl": "lightning-ir"}
    to = named.get(name, name)
    arguments = [sys.executable, "-c", CHILD, str(small), str(large), str(tmp_path / name), to]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stdin
        assert child.stderr
        assert child.stdout.readline() == "warm\n", child.stderr.read()
        before = peak = anonymous(child.pid)
        child.stdin.write("go\n")
        child.stdin.flush()
        while child.poll() is None:
            peak = max(peak, anonymous(child.pid))
            time.sleep(0.01)
        assert child.returncode == 0, child.stderr.read()[-2000:]
    assert 0 < peak - before <= BOUND
    assert (tmp_path / name).exists()
