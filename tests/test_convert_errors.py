"""Every mistake in a conversion: exit code 2, one sentence, nothing written or changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_setup import in_process
from convert_mistakes import GOOD, MISTAKES, Mistake

from pyrite import convert


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "runs/.cache" not in p.as_posix()
    }


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    mistake: Mistake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name, content in mistake.files.items():
        raw = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(raw)
    before = contents(tmp_path)
    outcome = in_process(monkeypatch, capfd, "convert", *mistake.arguments)
    assert outcome.code == 2
    [error] = outcome.errors
    for part in mistake.says:
        assert part in error, error
    assert contents(tmp_path) == before
    assert not outcome.out


@pytest.mark.parametrize("to", ["tevatron", "beir", "parquet"])
def test_an_error_on_the_way_leaves_nothing(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = str(GOOD["in.jsonl"]) * 300
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyrite.miner.convert.durable.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        convert(tmp_path / "in.jsonl", tmp_path / "out", to)
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]
