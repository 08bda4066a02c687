"""ncnn's Vulkan layers, on the same adapter as our own run.

Its Python interface uploads, runs a net and downloads, in one call. So a net of many equal branches is timed beside one of few, with the same
inputs uploaded and the same result downloaded: the difference is what the further branches take. The inputs are in ncnn's own layout (planes
of four channels where it makes those), so that nothing is turned around on its side. Each net's result is compared with NumPy's first.
"""

import sys

# `ncnn` is the package and not this file.
sys.path.append(sys.path.pop(0))

import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ncnn
import numpy as np
import peer
from peer import Case, Effort, Result, floats


# Seconds.
PATIENCE = 20


@dataclass
class Work:
    """Layers of one branch, as lines of ncnn's text with {0}, {1} .. for the inputs, {out} for the result and {i} for the branch's own names."""

    inputs: list[np.ndarray]
    layers: list[str]
    answer: Callable[[], np.ndarray]
    weights: list[bytes] = field(default_factory=list)


# What a kernel is with ncnn, by the name of the way.
Ways = dict[str, Work]


def raw(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, np.float32).tobytes()


def tagged(array: np.ndarray) -> bytes:
    """Weights that may be of other types have a word before them: 0 is f32."""
    return bytes(4) + raw(array)


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def attention_score(case: Case) -> Ways:
    """A product for each head, and softmax and mean over all of them: ncnn has no product of batches."""
    b, h, m, n, d = (case[letter] for letter in "BHMND")
    rows = 1 if "class row" in case.name else m
    queries, keys = floats(b, h, m, d)[:, :, :rows], floats(b, h, n, d)
    layers = []
    for row in range(b):
        heads = range(row * h, row * h + h)
        layers += [f"Gemm g{head}_{{i}} 2 1 {{{head}}} {{{b * h + head}}} l{head}_{{i}} 0={d**-0.5} 3=1" for head in heads]
        joined = " ".join(f"l{head}_{{i}}" for head in heads)
        layers += [
            f"Concat c{row}_{{i}} {h} 1 {joined} all{row}_{{i}} 0=0",
            f"Softmax s{row}_{{i}} 1 1 all{row}_{{i}} weights{row}_{{i}} 0=1 1=1",
            f"Reduction r{row}_{{i}} 1 1 weights{row}_{{i}} score{row}_{{i}} 0=0 1=0 2={1 / h} -23303=1,0 4=0 5=1",
        ]
    layers.append(f"Concat c_{{i}} {b} 1 {' '.join(f'score{row}_{{i}}' for row in range(b))} {{out}} 0=0")
    inputs = [*queries.reshape(b * h, rows, d), *keys.reshape(b * h, n, d)]
    return {"products, softmax, mean": Work(inputs, layers, lambda: softmax(queries @ keys.swapaxes(2, 3) / math.sqrt(d)).mean(1).sum(1))}


def attention(case: Case) -> Ways:
    b, h, m, n, d = (case[letter] for letter in "BHMND")
    q, k, v = (floats(b * h, count, d) for count in (m, n, n))
    answer = lambda: softmax(q @ k.swapaxes(1, 2) / math.sqrt(d)) @ v  # noqa: E731
    return {"SDPA": Work([q, k, v], ["SDPA a_{i} 3 1 {0} {1} {2} {out} 5=0 6=0"], answer)}


def linear(case: Case) -> Ways:
    rows, k, o = int(case.name.split()[1]), case["K"], case["O"]
    x, weight, bias = floats(rows, k), floats(o, k), floats(o)

    def answer() -> np.ndarray:
        return x @ weight.T + bias

    gemm = f"Gemm g_{{i}} 1 1 {{0}} {{out}} 2=0 3=1 4=0 5=1 6=1 7=0 8={o} 9={k} 10=4"
    product = f"InnerProduct p_{{i}} 1 1 {{0}} {{out}} 0={o} 1=1 2={o * k}"
    return {
        "Gemm": Work([x], [gemm], answer, [tagged(weight), tagged(bias)]),
        "InnerProduct": Work([x], [product], answer, [tagged(weight), raw(bias)]),
    }


def pixel_unshuffle(case: Case) -> Ways:
    if "planar" not in case.name:
        return {}
    (h, w), b, c, by = case.grid, case["B"], case["C"], case.after("by")
    x = floats(b * c, h, w)

    def answer() -> np.ndarray:
        return x.reshape(-1, h // by, by, w // by, by).transpose(0, 2, 4, 1, 3).reshape(-1, h // by, w // by)

    return {"Reorg": Work([x], [f"Reorg r_{{i}} 1 1 {{0}} {{out}} 0={by} 1=0"], answer)}


def pool(case: Case) -> Ways:
    (h, w), b, c, what = case.grid, case["B"], case["C"], case.name.split()[0]
    x = floats(b * c, h, w)
    pairs = x[:, : h // 2 * 2, : w // 2 * 2].reshape(-1, h // 2, 2, w // 2, 2)
    if what in ("average", "maximum"):
        kind, function = (1, np.mean) if what == "average" else (0, np.max)
        return {"Pooling": Work([x], [f"Pooling p_{{i}} 1 1 {{0}} {{out}} 0={kind} 1=2 2=2 5=1"], lambda: function(pairs, (2, 4)))}
    to = case.after("to")
    if what == "adaptive":
        weights = [adaptive(side, to) for side in (h, w)]
        layer = f"Pooling p_{{i}} 1 1 {{0}} {{out}} 0=1 7=1 8={to} 18={to}"
    else:
        weights = [bilinear(side, to) for side in (h, w)]
        layer = f"Interp p_{{i}} 1 1 {{0}} {{out}} 0=2 3={to} 4={to}"
    return {layer.split()[0]: Work([x], [layer], lambda: weights[0] @ x @ weights[1].T)}


def adaptive(side: int, to: int) -> np.ndarray:
    """What each input weighs in each output, along one side."""
    weights = np.zeros((to, side), np.float32)
    for i in range(to):
        first, end = i * side // to, -(-(i + 1) * side // to)
        weights[i, first:end] = 1 / (end - first)
    return weights


def bilinear(side: int, to: int) -> np.ndarray:
    weights = np.zeros((to, side), np.float32)
    for i in range(to):
        at = min(max((i + 0.5) * side / to - 0.5, 0), side - 1)
        low = min(int(at), side - 2)
        weights[i, low : low + 2] = [1 - (at - low), at - low]
    return weights


def convolution(case: Case) -> Ways:
    (h, w), b, c = case.grid, case["B"], case["C"]
    depthwise = "depthwise" in case.name
    groups, stride = (c, 1) if depthwise else (1, 2)
    if b > 1:
        return {}
    x, weight = floats(c, h, w), floats(c, 1 if depthwise else c, 3, 3)

    def answer() -> np.ndarray:
        wide = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))[:, ::stride, ::stride]
        kind = "chwyx,cyx->chw" if depthwise else "chwyx,ocyx->ohw"
        return np.einsum(kind, windows, weight[:, 0] if depthwise else weight, optimize=True)

    name = "ConvolutionDepthWise" if depthwise else "Convolution"
    more = f" 7={groups}" if depthwise else ""
    layer = f"{name} c_{{i}} 1 1 {{0}} {{out}} 0={c} 1=3 3={stride} 4=1 5=0 6={weight.size}{more}"
    return {name: Work([x], [layer], answer, [tagged(weight)])}


def layer_norm(case: Case) -> Ways:
    c = case["C"]
    x, weight = floats(case["B"] * case["N"], c), floats(c)
    if "LayerNorm" in case.name:
        layer = f"LayerNorm n_{{i}} 1 1 {{0}} {{out}} 0={c} 1=1e-5 2=1"
        parts = [raw(weight), raw(np.zeros(c))]

        def answer() -> np.ndarray:
            centred = x - x.mean(-1, keepdims=True)
            return centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5) * weight

    else:
        layer, parts = f"RMSNorm n_{{i}} 1 1 {{0}} {{out}} 0={c} 1=1e-5 2=1", [raw(weight)]

        def answer() -> np.ndarray:
            return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5) * weight

    return {layer.split()[0]: Work([x], [layer], answer, parts)}


def elementwise(case: Case) -> Ways:
    b, n, c = (case[letter] for letter in "BNC")
    if "gated" in case.name:
        x, y = floats(b, n, c), floats(b, 1, c)
        return {"BinaryOp": Work([x, y], ["BinaryOp b_{i} 2 1 {0} {1} {out} 0=2"], lambda: x * y)}
    x, y = floats(b * n, c), floats(b * n, c)
    return {
        "BinaryOp": Work([x, y], ["BinaryOp b_{i} 2 1 {0} {1} {out} 0=0"], lambda: x + y),
        "BinaryOp, one row": Work([x.ravel(), y.ravel()], ["BinaryOp b_{i} 2 1 {0} {1} {out} 0=0"], lambda: x + y),
        "Eltwise": Work([x, y], ["Eltwise e_{i} 2 1 {0} {1} {out} 0=1"], lambda: x + y),
    }


def concat_rows(case: Case) -> Ways:
    b, n, c = (case[letter] for letter in "BNC")
    first, second = floats(b, n, c), floats(b, 64, c)
    return {"Concat": Work([first, second], ["Concat c_{i} 2 1 {0} {1} {out} 0=1"], lambda: np.concatenate([first, second], 1))}


def reduce(case: Case) -> Ways:
    axis, statistic = case.after("axis"), case.name.split()[0]
    kinds = {"Mean": (3, np.mean), "Max": (4, np.max)}
    if statistic not in kinds:
        return {}
    operation, function = kinds[statistic]
    x = floats(case["B"], case["N"], case["C"])
    layer = f"Reduction r_{{i}} 1 1 {{0}} {{out}} 0={operation} 1=0 -23303=1,{axis} 4=0 5=1"
    return {"Reduction": Work([x], [layer], lambda: function(x, axis))}


def log_size(case: Case) -> Ways:
    x = np.abs(floats(case["B"], case["N"])) + np.float32(0.1)

    def answer() -> np.ndarray:
        return np.log(x)

    return {"UnaryOp": Work([x], ["UnaryOp u_{i} 1 1 {0} {out} 0=8"], answer)}


WORK: dict[str, Callable[[Case], Ways]] = {
    work.__name__: work
    for work in [
        attention_score, attention, linear, pixel_unshuffle, pool, convolution, layer_norm, elementwise, concat_rows, reduce, log_size,
    ]
}  # fmt: skip


class Nets:
    """Nets of so many branches, of one kind of work."""

    def __init__(self, work: Work, turns: int, half: bool, device: int, threads: int) -> None:
        self.work, self.turns, self.half, self.device, self.threads = work, turns, half, device, threads
        self.mats = [[ncnn.Mat(np.ascontiguousarray(array)).clone() for array in work.inputs] for _ in range(turns)]

    def net(self, branches: int) -> ncnn.Net:
        net = ncnn.Net()
        options = net.opt
        options.use_vulkan_compute, options.num_threads = True, self.threads
        for name in dir(options):
            if name.startswith(("use_fp16", "use_bf16", "use_int8")):
                # Sums stay in f32, as ours.
                setattr(options, name, self.half and name in ("use_fp16_packed", "use_fp16_storage"))
        net.set_vulkan_device(self.device)
        used = [range(turn, branches, self.turns) for turn in range(self.turns)]
        lines = []
        for turn, those in enumerate(used):
            for number in range(len(self.work.inputs)):
                copies = " ".join(f"in{number}_{i}" for i in those)
                lines.append(f"Input input{turn}_{number} 0 1 whole{turn}_{number}")
                lines.append(f"Split split{turn}_{number} 1 {len(those)} whole{turn}_{number} {copies}")
        for i in range(branches):
            names = [f"in{number}_{i}" for number in range(len(self.work.inputs))]
            lines += [layer.format(*names, i=i, out=f"result{i}") for layer in self.work.layers]
        # Whoever asks for the first result waits for all of them.
        wanted, given = (" ".join(f"{word}{i}" for i in range(branches)) for word in ("result", "all"))
        lines.append(f"Noop join {branches} {branches} {wanted} {given}")
        parts = [line.split() for line in lines]
        blobs = {blob for part in parts for blob in part[4 : 4 + int(part[2]) + int(part[3])]}
        text = "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines]) + "\n"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.bin"
            path.write_bytes(b"".join(self.work.weights) * branches)
            if net.load_param_mem(text) or net.load_model(str(path)):
                raise RuntimeError("ncnn does not take the net")
        on_cpu = {layer.type for layer in net.layers() if layer.type not in ("Input", "Split") and not layer.support_vulkan}
        if on_cpu:
            raise RuntimeError(f"on the CPU alone: {', '.join(sorted(on_cpu))}")
        return net

    def run(self, net: ncnn.Net) -> tuple[float, np.ndarray]:
        """Seconds, and the first result."""
        start = time.perf_counter()
        extractor = net.create_extractor()
        for turn, mats in enumerate(self.mats):
            for number, mat in enumerate(mats):
                extractor.input(f"whole{turn}_{number}", mat)
        status, result = extractor.extract("all0")
        seconds = time.perf_counter() - start
        if status:
            raise RuntimeError(f"ncnn gave the error {status}")
        return seconds, np.array(result)

    def check(self, few: ncnn.Net) -> None:
        expected = self.work.answer()
        result = self.run(few)[1].reshape(expected.shape)
        near = (2e-2 if self.half else 1e-3) * np.abs(expected).max()
        wrong = np.count_nonzero(~(np.abs(result - expected) <= near))
        if wrong:
            raise RuntimeError(f"ncnn's result is wrong in {wrong} of {expected.size} numbers")

    def measure(self, effort: Effort) -> tuple[float, int]:
        """The median of what a further branch takes in microseconds, and of how many samples."""
        few = self.net(self.turns)
        first = time.perf_counter()
        self.check(few)
        if time.perf_counter() - first > PATIENCE:
            raise TimeoutError(f"the first run took longer than {PATIENCE} s")
        more = self.turns
        while True:
            many = self.net(self.turns + more)
            for net in (few, many):
                self.run(net)
            times = [self.run(net)[0] for net in (few, many)]
            # The difference must stand out from what both take.
            enough = max(4 * effort.sample, times[0] / 2)
            if times[1] - times[0] >= enough or more >= 16 * self.turns or self.turns + 2 * more > self.most():
                break
            more *= 2
        start, found = time.perf_counter(), []
        while len(found) < 3 or (len(found) < effort.samples and time.perf_counter() - start < 2 * effort.seconds):
            few_seconds, many_seconds = (self.run(net)[0] for net in (few, many))
            found.append((many_seconds - few_seconds) / more)
        median = float(np.median(found)) * 1e6
        if median <= 0:
            raise RuntimeError("too short beside the upload to be measured")
        return median, len(found)

    def most(self) -> int:
        """Branches whose results fit into a gigabyte: all are kept."""
        return max((1 << 30) // (4 * self.work.answer().size), 2)


def main() -> None:
    options = peer.arguments()
    cases, _ = peer.cases(options)
    adapter = json.loads(options.cases.read_text())["adapter"]
    devices = [ncnn.get_gpu_info(i).device_name() for i in range(ncnn.get_gpu_count())]
    if adapter not in devices:
        sys.exit(f"ncnn has no Vulkan adapter {adapter}, but {', '.join(devices) or 'none'}")
    name = f"ncnn {ncnn.__version__}"

    results = []
    for case in cases:
        ways = WORK[case.kernel](case) if case.kernel in WORK else {}
        for way, work in ways.items():
            print(f"{name}: {case.kernel} {case.name}, {way}", file=sys.stderr)
            turns = min(case.turns, 4)
            try:
                nets = Nets(work, turns, case.half, devices.index(adapter), options.threads)
                median, samples = nets.measure(peer.effort(options))
                result = Result(name, case.kernel, case.name, median, samples, f"{way}, Vulkan, wall clock of what more branches take")
            except Exception as error:
                result = Result(name, case.kernel, case.name, None, 0, peer.reason(way, error))
            results.append(result)
            peer.write(options.json, results)


if __name__ == "__main__":
    main()
