"""What the peer programs share: the cases of our own run, the same numbers, and a clock that is used in the same way."""

import argparse
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass
class Case:
    """A row of `bench --json`. Its name says its shapes."""

    kernel: str
    name: str
    turns: int

    def __getitem__(self, letter: str) -> int:
        """577 for N, of a name with N577."""
        found = re.search(rf"\b{letter}(\d+)\b", self.name)
        if not found:
            raise KeyError(letter)
        return int(found[1])

    def after(self, word: str) -> int:
        """12 for "to", of a name with "to 12"."""
        return int(re.search(rf"\b{word} (\d+)\b", self.name)[1])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns, of a name with 27x27."""
        return tuple(int(side) for side in re.search(r"\b(\d+)x(\d+)\b", self.name).groups())

    @property
    def half(self) -> bool:
        return bool(re.search(r"\bf16\b", self.name))


@dataclass
class Result:
    peer: str
    kernel: str
    case: str
    median_us: float | None
    samples: int
    # How it was done and timed; or why not.
    note: str = ""


def reason(way: str, error: Exception) -> str:
    """Why there is no result."""
    return "; ".join(filter(None, [way, next(iter(str(error).strip().splitlines()), type(error).__name__)]))


@dataclass
class Effort:
    """As in `examples/bench/run.rs`."""

    samples: int = 30
    seconds: float = 2.0
    sample: float = 0.005


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=Path, required=True, help="what `bench --json` wrote")
    parser.add_argument("--json", type=Path, required=True, help="where the results go")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--filter", default="", help="only cases whose kernel or name contains this")
    parser.add_argument("--quick", action="store_true", help="fewer samples, and nothing compiled")
    # The adapter, which only others know.
    return parser.parse_known_args()[0]


def cases(options: argparse.Namespace) -> tuple[list[Case], bool]:
    """All that fit the filter, and whether they were measured on a CPU."""
    report = json.loads(options.cases.read_text())
    found = [Case(row["kernel"], row["case"], row["turns"]) for row in report["rows"]]
    return [c for c in found if options.filter in f"{c.kernel} {c.name}"], report["device_type"] == "Cpu"


def effort(options: argparse.Namespace) -> Effort:
    return Effort(7, 0.3) if options.quick else Effort()


def write(path: Path, results: Iterable[Result]) -> None:
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def _words(seed: int, count: int) -> np.ndarray:
    """SplitMix64, as `tests/support/data.rs`."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def floats(*shape: int) -> np.ndarray:
    """The numbers from -1 to 1 that every input of our cases holds."""
    uniform = (_words(4, math.prod(shape)) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    return (2 * uniform - 1).reshape(shape)


def integers(seed: int, below: int, *shape: int) -> np.ndarray:
    """`data::integers` of our cases."""
    words = (_words(seed, math.prod(shape)) >> np.uint64(32)) * np.uint64(below)
    return (words >> np.uint64(32)).astype(np.int64).reshape(shape)


def measure(seconds_of: Callable[[int], float], turns: int, effort: Effort) -> tuple[float, int]:
    """The median of one run in microseconds, and of how many samples, by what so many runs take."""
    seconds_of(turns)
    runs = min(max(math.ceil(effort.sample * turns / max(seconds_of(turns), 1e-9)), 1), 4096)
    start, times = time.perf_counter(), []
    while len(times) < 3 or (len(times) < effort.samples and time.perf_counter() - start < effort.seconds):
        times.append(seconds_of(runs) / runs)
    return float(np.median(times)) * 1e6, len(times)
