"""What every benchmark shares: one process for each contestant, peak memory, the results file."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"
STATE = Path(__file__).resolve().parent / ".state" / "all"


@dataclass
class Reading:
    """Wall seconds and growth of anonymous memory of one measured block, in bytes."""

    seconds: float = 0.0
    extra_bytes: int = 0


def anonymous_bytes(process: int) -> int:
    """Anonymous resident memory of a process; mapped files do not count."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def watch(process: int) -> None:
    """Print the growth of a process's memory at its highest, once the standard input ends."""
    base = peak = anonymous_bytes(process)
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    print("watching", flush=True)
    while not done.wait(0.005):
        peak = max(peak, anonymous_bytes(process))
    print(max(peak, anonymous_bytes(process)) - base)


@contextmanager
def measured() -> Iterator[Reading]:
    """Time a block, while another process samples this one's memory every 5 ms.

    A thread would take the interpreter from the block 200 times a second.
    """
    reading = Reading()
    command = [sys.executable, __file__, str(os.getpid())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        start = time.perf_counter()
        try:
            yield reading
        finally:
            reading.seconds = time.perf_counter() - start
            reading.extra_bytes = int(watcher.communicate()[0])


def in_process(script: Path, contestant: str, folder: Path, *extra: str) -> Reading:
    """Run one contestant in a process of its own and read what it measured."""
    command = [sys.executable, str(script), "--folder", str(folder), "--contestant", contestant]
    done = subprocess.run([*command, *extra], check=True, stdout=subprocess.PIPE, text=True)
    return Reading(**json.loads(done.stdout.strip().splitlines()[-1]))


def report(reading: Reading) -> None:
    """What a contestant prints for `in_process`."""
    print(json.dumps({"seconds": reading.seconds, "extra_bytes": reading.extra_bytes}))


def rounds(count: int, run: Callable[[str], Reading], names: list[str]) -> dict[str, Reading]:
    """Each contestant `count` times in turn, A B C A B C; the round with the median time counts."""
    seen: dict[str, list[Reading]] = {name: [] for name in names}
    for _ in range(count):
        for name in names:
            seen[name].append(run(name))
    middle = {n: sorted(r, key=lambda x: x.seconds)[len(r) // 2] for n, r in seen.items()}
    return {n: Reading(r.seconds, max(x.extra_bytes for x in seen[n])) for n, r in middle.items()}


def hardware() -> str:
    """Processor and cores, as the operating system names them."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores"


def publish(
    name: str,
    rows: list[dict[str, Any]],
    sizes: str,
    more: dict[str, Any] | None = None,
    folder: Path = RESULTS,
) -> None:
    """Print rows of name, ours, peer, unit and ratio, and write `<name>.json` with `more` in it."""
    table = Table(title=f"{name}: {sizes}")
    columns = ("name", "ours", "peer", "unit", "ratio", "ours MiB", "peer MiB")
    for column in columns:
        table.add_column(column, justify="left" if column in ("name", "unit") else "right")
    for row in rows:
        cells = [row["name"], f"{row['ours']:.3f}", f"{row['peer']:.3f}", row["unit"]]
        cells.append(f"{row['ratio']:.2f}")
        memory = (row["ours_extra_mib"], row["peer_extra_mib"])
        table.add_row(*cells, *(f"{m:.0f}" for m in memory))
    Console().print(table)
    folder.mkdir(exist_ok=True)
    result = {
        "name": name,
        "sizes": sizes,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "rows": rows,
        **(more or {}),
    }
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def row(name: str, ours: Reading, peer: Reading) -> dict[str, Any]:
    """One line of a table: seconds of both, peer / ours, extra memory of both."""
    return {
        "name": name,
        "ours": round(ours.seconds, 3),
        "peer": round(peer.seconds, 3),
        "unit": "s",
        "ratio": round(peer.seconds / ours.seconds, 3),
        "ours_extra_mib": round(ours.extra_bytes / 2**20, 1),
        "peer_extra_mib": round(peer.extra_bytes / 2**20, 1),
    }


if __name__ == "__main__":
    watch(int(sys.argv[1]))
