"""PyTorch at the work of our kernels: eager, and compiled where that works.

On the CPU with as many threads as our software adapter has, or on CUDA where our own run was on a GPU. What it computes is written from the
definitions of our kernels, as a user of PyTorch would write them.
"""

import sys

# `torch` is the package and not this file.
sys.path.append(sys.path.pop(0))

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import peer
import torch
import torch.nn.functional as F
from peer import Case, Result, floats, integers
from torch import Tensor

Function = Callable[..., object]
# Host arrays, and what is computed of them by the name of the way.
Work = tuple[list[np.ndarray], dict[str, Function]]


def attention_score(case: Case) -> Work:
    b, h, m, n, d = (case[letter] for letter in "BHMND")

    def weights(queries: Tensor, keys: Tensor) -> Tensor:
        return (queries @ keys.mT / math.sqrt(d)).softmax(-1, dtype=torch.float32)

    def class_row(queries: Tensor, keys: Tensor) -> Tensor:
        return weights(queries[:, :, :1], keys).mean(1)[:, 0]

    def all_rows(queries: Tensor, keys: Tensor) -> Tensor:
        return weights(queries, keys).mean(1).sum(1)

    return [floats(b, h, m, d), floats(b, h, n, d)], {"": class_row if "class row" in case.name else all_rows}


def attention(case: Case) -> Work:
    b, h, m, n, d = (case[letter] for letter in "BHMND")
    return [floats(b, h, m, d), floats(b, h, n, d), floats(b, h, n, d)], {"": F.scaled_dot_product_attention}


def top_k(case: Case) -> Work:
    k = case["k"]

    def sort(scores: Tensor) -> list[Tensor]:
        return [part[:, :k] for part in scores.sort(dim=-1, descending=True, stable=True)]

    return [floats(case["B"], case["N"])], {"": lambda scores: scores.topk(k), "stable sort": sort}


def compact(case: Case) -> Work:
    def work(flags: Tensor) -> tuple[Tensor, Tensor]:
        return flags.nonzero(), flags.cumsum(1) - 1

    return [integers(1, 2, case["B"], case["N"])], {"": work}


def row_normalize(case: Case) -> Work:
    def work(x: Tensor) -> tuple[Tensor, Tensor]:
        norm = x.norm(dim=-1, keepdim=True, dtype=torch.float32)
        return x / norm, norm

    return [floats(case["B"], case["H"], case["N"], case["C"])], {"": work}


def best_partners(unit: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar odd token of every even one."""
    return (unit[:, ::2] @ unit[:, 1::2].mT).max(-1)


def bipartite_match(case: Case) -> Work:
    return [floats(case["B"], case["N"], case["C"])], {"": best_partners}


def tome(case: Case) -> Work:
    """Tokens become the means of those that merge; token 0 is a class token."""
    r = case["r"]

    def work(x: Tensor, metric: Tensor) -> tuple[Tensor, Tensor]:
        similarity, partner = best_partners(metric / metric.norm(dim=-1, keepdim=True))
        similarity[:, 0] = -math.inf
        order = similarity.argsort(-1, descending=True)
        merged, unmerged = order[:, :r], order[:, r:].sort(-1)[0]
        into = partner.gather(1, merged)
        sources, destinations = x[:, ::2], x[:, 1::2]
        wide = (-1, -1, x.shape[-1])
        total = destinations.scatter_add(1, into[..., None].expand(wide), sources.gather(1, merged[..., None].expand(wide)))
        size = torch.ones_like(destinations[..., :1]).scatter_add(1, into[..., None], torch.ones_like(into[..., None], dtype=x.dtype))
        stay = sources.gather(1, unmerged[..., None].expand(wide))
        return torch.cat([stay, total / size], 1), torch.cat([torch.ones_like(stay[..., :1]), size], 1)

    return [floats(case["B"], case["N"], case["C"]), floats(case["B"], case["N"], case["D"])], {"": work}


def merge_tokens(case: Case) -> Work:
    b, n, outputs = case["B"], case["N"], case.after("to")
    parent = integers(2, outputs, b, n)

    def group(parent: Tensor) -> tuple[Tensor, Tensor]:
        counts = torch.zeros(b, outputs, dtype=parent.dtype, device=parent.device).scatter_add(1, parent, torch.ones_like(parent))
        return counts.cumsum(1), parent.argsort(dim=1, stable=True)

    def merge(x: Tensor, size: Tensor, parent: Tensor) -> Tensor:
        weighted = x * size[..., None].to(x.dtype)
        total = x.new_zeros(b, outputs, x.shape[-1]).scatter_add(1, parent[..., None].expand_as(x), weighted)
        return total / size.new_zeros(b, outputs).scatter_add(1, parent, size)[..., None].to(x.dtype)

    if "merge_tokens" not in case.name:
        return [parent], {"": group}
    return [floats(b, n, case["C"]), floats(b, n), parent], {"": merge}


def gather_rows(case: Case) -> Work:
    b, n, c = (case[letter] for letter in "BNC")

    def gather(source: Tensor, index: Tensor) -> Tensor:
        return source.gather(1, index[..., None].expand(-1, -1, c))

    def select(source: Tensor, index: Tensor) -> Tensor:
        flat = index + torch.arange(b, device=index.device)[:, None] * n
        return source.view(b * n, c).index_select(0, flat.view(-1)).view(b, -1, c)

    return [floats(b, n, c), integers(3, n, b, n // 2)], {"": gather, "index_select": select}


def invert_index(case: Case) -> Work:
    b, n = case["B"], case["N"]
    index = integers(0, 1, b, n // 2) + range(0, 2 * (n // 2), 2)

    def work(index: Tensor) -> Tensor:
        places = torch.arange(index.shape[1], device=index.device).expand_as(index)
        return torch.full((b, n), -1, device=index.device).scatter(1, index, places)

    return [index], {"": work}


def log_size(case: Case) -> Work:
    return [floats(case["B"], case["N"])], {"": torch.log}


def pixel_unshuffle(case: Case) -> Work:
    (h, w), b, c = case.grid, case["B"], case["C"]
    if "planar" in case.name:
        factor = case.after("by")
        return [floats(b, c, h, w)], {"": lambda x: F.pixel_unshuffle(x, factor)}
    order = (0, 1, 3, 5, 2, 4) if "ChannelFirst" in case.name else (0, 1, 3, 2, 4, 5)

    def tokens(x: Tensor) -> Tensor:
        return x.view(b, h // 2, 2, w // 2, 2, c).permute(order).reshape(b, h * w // 4, 4 * c)

    return [floats(b, h * w, c)], {"": tokens}


def linear(case: Case) -> Work:
    rows, k, o = int(case.name.split()[1]), case["K"], case["O"]
    return [floats(rows, k), floats(o, k), floats(o)], {"": F.linear}


def concat_rows(case: Case) -> Work:
    b, n, c = (case[letter] for letter in "BNC")
    return [floats(b, n, c), floats(b, 64, c)], {"": lambda first, second: torch.cat([first, second], 1)}


def reduce(case: Case) -> Work:
    axis, statistic = case.after("axis"), case.name.split()[0]
    functions = {
        "Mean": lambda x: x.mean(axis),
        "Variance": lambda x: x.var(axis, correction=0),
        "Max": lambda x: x.amax(axis),
    }
    return [floats(case["B"], case["N"], case["C"])], {"": functions[statistic]}


def threshold(case: Case) -> Work:
    return [floats(case["B"], case["N"])], {"": lambda scores: (scores > 0).to(torch.int32)}


def pair_similarity(case: Case) -> Work:
    return [floats(case["B"], case["N"], case["C"])], {"": lambda unit: (unit[:, 1:] * unit[:, :-1]).sum(-1)}


def greedy_select(case: Case) -> Work:
    """The loops of DivPrune and of CDPruner, with the matrix of all similarities."""
    b, n, k = case["B"], case["N"], case["k"]

    def max_min(unit: Tensor) -> Tensor:
        rows = torch.arange(b, device=unit.device)
        distance = 1 - unit @ unit.mT
        nearest = distance.diagonal_scatter(distance.new_full((b, n), math.inf), 0, 1, 2).amin(2)
        picks = [nearest.argmax(1)]
        least = distance[rows, picks[0]]
        for _ in range(1, k):
            least[rows, picks[-1]] = -math.inf
            picks.append(least.argmax(1))
            least = torch.minimum(least, distance[rows, picks[-1]])
        return torch.stack(picks, 1)

    def determinant(unit: Tensor) -> Tensor:
        rows = torch.arange(b, device=unit.device)
        gram = unit @ unit.mT
        residual = gram.diagonal(dim1=1, dim2=2).clone()
        factor, picks = unit.new_zeros(b, k, n), []
        for i in range(k):
            pick = residual.argmax(1)
            known = torch.einsum("bi,bin->bn", factor[rows, :i, pick], factor[:, :i])
            row = (gram[rows, pick] - known) / residual[rows, pick].clamp_min(1e-12).sqrt()[:, None]
            factor[:, i] = row
            residual = residual - row.square()
            residual[rows, pick] = -math.inf
            picks.append(pick)
        return torch.stack(picks, 1)

    return [floats(b, n, case["C"])], {"": max_min if "MaxMin" in case.name else determinant}


def neighbours(case: Case) -> Work:
    nearest = int(case.name.split()[0])

    def work(unit: Tensor) -> Tensor:
        similarity = unit @ unit.mT
        similarity.diagonal(dim1=1, dim2=2).fill_(-math.inf)
        return similarity.topk(nearest)[1]

    return [floats(case["B"], case["N"], case["C"])], {"": work}


def density_peaks(case: Case) -> Work:
    nearest = case.after("of")

    def work(x: Tensor) -> Tensor:
        distance = torch.cdist(x, x) / math.sqrt(x.shape[-1])
        density = (-distance.topk(nearest, largest=False)[0].square().mean(-1)).exp()
        denser = density[:, None, :] > density[:, :, None]
        farthest = distance.flatten(1).amax(1)[:, None, None]
        return torch.where(denser, distance, farthest).amin(2) * density

    return [floats(case["B"], case["N"], case["C"])], {"": work}


def quantile(case: Case) -> Work:
    def fence(scores: Tensor) -> Tensor:
        low, high = scores.quantile(torch.tensor([0.25, 0.75], device=scores.device), dim=1)
        return high + 1.5 * (high - low)

    return [floats(case["B"], case["N"])], {"": fence}


def min_max(case: Case) -> Work:
    def work(scores: Tensor) -> Tensor:
        low, high = scores.aminmax(dim=1, keepdim=True)
        return (scores - low) / (high - low)

    return [floats(case["B"], case["N"])], {"": work}


def pool(case: Case) -> Work:
    (h, w), b, c, what = case.grid, case["B"], case["C"], case.name.split()[0]

    def of(function: Callable[[Tensor], Tensor]) -> Function:
        """Between tokens and planes, which are views of the same memory."""
        return lambda x: function(x.view(b, h, w, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()

    functions = {
        "average": lambda x: F.avg_pool2d(x, 2),
        "maximum": lambda x: F.max_pool2d(x, 2),
        "bilinear": lambda x: F.interpolate(x, size=case.after("to"), mode="bilinear", align_corners=False),
        "adaptive": lambda x: F.adaptive_avg_pool2d(x, case.after("to")),
    }
    return [floats(b, h * w, c)], {"": of(functions[what])}


def convolution(case: Case) -> Work:
    (h, w), b, c = case.grid, case["B"], case["C"]
    depthwise = "depthwise" in case.name
    groups, stride = (c, 1) if depthwise else (1, 2)

    def work(x: Tensor, weight: Tensor) -> Tensor:
        planes = x.view(b, h, w, c).permute(0, 3, 1, 2)
        return F.conv2d(planes, weight, stride=stride, padding=1, groups=groups).permute(0, 2, 3, 1).contiguous()

    return [floats(b, h * w, c), floats(c, 1 if depthwise else c, 3, 3)], {"": work}


def deformable_sample(case: Case) -> Work:
    (h, w), b, queries, heads, c = case.grid, case["B"], case["Q"], case["H"], case["C"]

    def work(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        planes = value.view(b, h, w, heads, -1).permute(0, 3, 4, 1, 2).flatten(0, 1)
        places = 2 * locations.transpose(1, 2).flatten(0, 1) - 1
        samples = F.grid_sample(planes, places, align_corners=False).view(b, heads, -1, queries, 4)
        return (samples * weights.softmax(-1).transpose(1, 2)[:, :, None]).sum(-1).permute(0, 3, 1, 2).contiguous()

    return [floats(b, h * w, heads, c // heads), floats(b, queries, heads, 4, 2), floats(b, queries, heads, 4)], {"": work}


def layer_norm(case: Case) -> Work:
    c = case["C"]
    norm = F.layer_norm if "LayerNorm" in case.name else F.rms_norm
    return [floats(case["B"], case["N"], c), floats(c)], {"": lambda x, weight: norm(x, (c,), weight)}


def elementwise(case: Case) -> Work:
    b, n, c = (case[letter] for letter in "BNC")
    if "gated" in case.name:
        return [floats(b, n, c), floats(b, 1, c)], {"": torch.mul}
    return [floats(b, n, c), floats(b, n, c)], {"": torch.add}


WORK: dict[str, Callable[[Case], Work]] = {
    work.__name__: work
    for work in [
        attention_score, attention, top_k, compact, row_normalize, bipartite_match, tome, merge_tokens, gather_rows, invert_index, log_size,
        pixel_unshuffle, linear, concat_rows, reduce, threshold, pair_similarity, greedy_select, neighbours, density_peaks, quantile,
        min_max, pool, convolution, deformable_sample, layer_norm, elementwise,
    ]
}  # fmt: skip


class Bench:
    def __init__(self) -> None:
        self.options = peer.arguments()
        self.cases, on_cpu = peer.cases(self.options)
        self.effort = peer.effort(self.options)
        # ROCm has CUDA's names.
        self.device = "cpu" if on_cpu else "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        torch.set_num_threads(self.options.threads)
        names = {"cuda": torch.cuda.get_device_name, "mps": lambda: "Metal", "cpu": lambda: f"CPU, {self.options.threads} threads"}
        device = names[self.device]()
        self.peer = f"torch {torch.__version__.split('+')[0]}"
        self.note = f"{device}, {'events of the GPU' if self.device == 'cuda' else 'wall clock'}"

    def upload(self, array: np.ndarray, half: bool) -> Tensor:
        tensor = torch.tensor(array, device=self.device)
        return tensor.half() if half and tensor.is_floating_point() else tensor

    def seconds_of(self, function: Function, turns: list[list[Tensor]]) -> Callable[[int], float]:
        def wall(runs: int) -> float:
            start = time.perf_counter()
            for run in range(runs):
                function(*turns[run % len(turns)])
            if self.device == "mps":
                torch.mps.synchronize()
            return time.perf_counter() - start

        def cuda(runs: int) -> float:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for run in range(runs):
                function(*turns[run % len(turns)])
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / 1e3

        return cuda if self.device == "cuda" else wall

    def results(self, case: Case) -> Iterator[Result]:
        if case.kernel not in WORK:
            return
        arrays, functions = WORK[case.kernel](case)
        turns = [[self.upload(array, case.half) for array in arrays] for _ in range(case.turns)]
        ways = [(way, function, False) for way, function in functions.items()]
        if not self.options.quick:
            ways += [(way, function, True) for way, function in functions.items()]
        for way, function, compiled in ways:
            name, note = self.peer + (" compiled" if compiled else ""), "; ".join(filter(None, [way, self.note]))
            try:
                if compiled:
                    torch.compiler.reset()
                    function = torch.compile(function, dynamic=False)
                median, samples = peer.measure(self.seconds_of(function, turns), len(turns), self.effort)
                yield Result(name, case.kernel, case.name, median, samples, note)
            except Exception as error:
                yield Result(name, case.kernel, case.name, None, 0, peer.reason(way, error))

    def run(self) -> None:
        results = []
        for case in self.cases:
            print(f"{self.peer}: {case.kernel} {case.name}", file=sys.stderr)
            with torch.inference_mode():
                results.extend(self.results(case))
            peer.write(self.options.json, results)


if __name__ == "__main__":
    Bench().run()
