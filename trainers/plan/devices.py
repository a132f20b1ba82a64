"""Accelerators by their published figures, and the share of them that is assumed to be reached."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import PyriteError

HERE = ("cpu", "cuda")
# assumed, not measured: shares of the published peaks
ENCODE_SHARE = {"float32": 0.5, "half": 0.35}
TRAIN_SHARE = {"float32": 0.4, "half": 0.3}
SEARCH_SHARE = 0.5
# matrices of 1,024 columns reach the share, narrower ones less in proportion
FULL_WIDTH = 1024
# bytes from mapped files to the device in a second, and readings of each score for the top k
COPY_BYTES, SCORE_READINGS = 10e9, 6


@dataclass(frozen=True, slots=True)
class Device:
    """Published figures: operations in a second (dense, without sparsity), bytes, bytes a second.

    `single` is float32 without tensor cores, `half` bfloat16 or float16 with them.
    """

    name: str
    single: float
    half: float
    memory: float
    bandwidth: float

    def rate(self, half: bool, training: bool, hidden: int) -> float:
        """Operations in a second that a model of such a width is assumed to reach."""
        shares = TRAIN_SHARE if training else ENCODE_SHARE
        share = shares["half" if half else "float32"] * min(1.0, hidden / FULL_WIDTH)
        return share * (self.half if half else self.single)

    def search_seconds(self, documents: int, queries: int, dimension: int, half: bool) -> float:
        """Exact search: products, the top of the scores, and the corpus copied for each 1,024."""
        products = 2.0 * documents * queries * dimension
        peak = self.half if half else self.single
        scores = 4.0 * SCORE_READINGS * documents * queries / self.bandwidth
        copies = 4.0 * -(-queries // 1024) * documents * dimension / COPY_BYTES
        return products / (SEARCH_SHARE * peak) + scores + copies


def _device(name: str, single: float, half: float, gigabytes: float, bandwidth: float) -> Device:
    return Device(name, single * 1e12, half * 1e12, gigabytes * 1e9, bandwidth * 1e12)


DEVICES = {
    device.name: device
    for device in (
        _device("b200", 75, 2250, 180, 7.7),
        _device("h200", 67, 989, 141, 4.8),
        _device("h100", 67, 989, 80, 3.35),
        _device("a100", 19.5, 312, 80, 2.04),
        _device("l40s", 91.6, 362, 48, 0.864),
        _device("l4", 30.3, 121, 24, 0.3),
        _device("a10", 31.2, 125, 24, 0.6),
        _device("v100", 15.7, 125, 32, 0.9),
        _device("t4", 8.1, 65, 16, 0.32),
    )
}


def device_named(name: str) -> Device | None:
    """The accelerator `name`; None for `cpu` and `cuda`, which are those of this machine.

    Raises PyriteError for any other.
    """
    if name.partition(":")[0] in HERE:
        return None
    if name.lower() not in DEVICES:
        raise PyriteError(
            f"--device={name}: no figures of it are known; give cpu or cuda, which are measured"
            f" here, or one of {', '.join(DEVICES)}"
        )
    return DEVICES[name.lower()]
