"""A cached step of 4096 rows stays within the memory of 64 rows and the vectors that it keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROWS, SMALL, TOKENS, CHUNK = 4096, 64, 128, 32
HIDDEN = 32
# glibc otherwise keeps returned blocks in arenas, and how many is a matter of luck
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}

CHILD = """
import json, sys, threading
from pathlib import Path
import torch
from transformers import BertConfig, BertModel
from pyrite.trainers.loss import ContrastiveLoss

rows, tokens, chunk, hidden = map(int, sys.argv[1:5])
torch.set_num_threads(1)

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this kernel does not say RssAnon")

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.bert = BertModel(BertConfig(
            vocab_size=100, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=2 * hidden, max_position_embeddings=tokens,
            attn_implementation="eager",
        ))

    def forward(self, features):
        out = self.bert(features["input_ids"], features["attention_mask"]).last_hidden_state
        return {"sentence_embedding": out.mean(dim=1)}

def batch(count):
    generator = torch.Generator().manual_seed(count)
    ids = [torch.randint(0, 100, (count, tokens), generator=generator) for _ in range(2)]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids]

model = Encoder()
loss = ContrastiveLoss(model, mini_batch_size=chunk or None)
# what libraries set up at their first call, and the gradients' memory, are not the step's
loss(batch(2)).backward()
features = batch(rows)
before = peak = anonymous()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
value = loss(features)
value.backward()
done.set()
watcher.join()
print(json.dumps({"growth": max(peak, anonymous()) - before, "loss": value.item()}))
"""


def measured(rows: int, chunk: int) -> dict[str, float]:
    given = [str(number) for number in (rows, TOKENS, chunk, HIDDEN)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, **ALLOCATOR},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_a_large_batch_costs_a_small_one_and_its_vectors() -> None:
    small, large = measured(SMALL, 0), measured(ROWS, CHUNK)
    # each vector once as embedded, once compared, and their gradients
    vectors = 2 * ROWS * HIDDEN * 4 * 4
    assert 0 < large["growth"] <= small["growth"] + vectors
    # all rows at once would need 64 times as much
    assert small["growth"] > 10 * vectors
    assert large["loss"] > small["loss"] > 0
