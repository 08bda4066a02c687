"""ONNX Runtime's CPU provider at top-k, softmax-mean and pooling: models of a few standard operators."""

import sys

# `onnxruntime` is the package and not this file.
sys.path.append(sys.path.pop(0))

import math
import time
from collections.abc import Iterator

import numpy as np
import onnxruntime
import peer
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from peer import Case, Result, floats

# Nodes, constants, inputs, names of the outputs.
Model = tuple[list[NodeProto], dict[str, np.ndarray], dict[str, np.ndarray], list[str]]


def attention_score(case: Case) -> Model:
    b, h, m, n, d = (case[letter] for letter in "BHMND")
    class_row = "class row" in case.name
    nodes = [
        helper.make_node("Transpose", ["keys"], ["columns"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["queries", "columns"], ["logits"]),
        helper.make_node("Mul", ["logits", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["weights"], axis=-1),
        helper.make_node("ReduceMean", ["weights", "heads"], ["rows"], keepdims=0),
        helper.make_node("ReduceSum", ["rows", "heads"], ["score"], keepdims=0),
    ]
    constants = {"scale": np.float32(1 / math.sqrt(d)), "heads": np.array([1])}
    return nodes, constants, {"queries": floats(b, h, 1 if class_row else m, d), "keys": floats(b, h, n, d)}, ["score"]


def top_k(case: Case) -> Model:
    nodes = [helper.make_node("TopK", ["scores", "k"], ["values", "indices"], axis=-1, sorted=1)]
    return nodes, {"k": np.array([case["k"]])}, {"scores": floats(case["B"], case["N"])}, ["values", "indices"]


def pool(case: Case) -> Model | None:
    (h, w), b, c, what = case.grid, case["B"], case["C"], case.name.split()[0]
    constants, window = {}, {"kernel_shape": [2, 2], "strides": [2, 2]}
    if what == "bilinear":
        constants["sizes"] = np.array([b, c, case.after("to"), case.after("to")])
        inputs, kind = ["planes", "", "", "sizes"], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        node = helper.make_node("Resize", inputs, ["pooled"], **kind)
    elif what in ("average", "maximum"):
        node = helper.make_node("AveragePool" if what == "average" else "MaxPool", ["planes"], ["pooled"], **window)
    else:
        return None
    # The operators are for planes, and tokens are not.
    first = helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2])
    last = helper.make_node("Transpose", ["pooled"], ["tokens"], perm=[0, 2, 3, 1])
    return [first, node, last], constants, {"x": floats(b, h, w, c)}, ["tokens"]


WORK = {"attention_score": attention_score, "top_k": top_k, "pool": pool}


def model_of(nodes: list[NodeProto], constants: dict[str, np.ndarray], inputs: dict[str, np.ndarray], outputs: list[str]) -> ModelProto:
    def typed(name: str, array: np.ndarray) -> object:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    kinds = {"indices": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "peer",
        [typed(name, array) for name, array in inputs.items()],
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def main() -> None:
    options = peer.arguments()
    cases, on_cpu = peer.cases(options)
    name = f"onnxruntime {onnxruntime.__version__}"
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads

    def result(case: Case, model: Model) -> Result:
        inputs, outputs = model[2], model[3]
        bytes_of_model = model_of(*model).SerializeToString()
        session = onnxruntime.InferenceSession(bytes_of_model, session_options, providers=["CPUExecutionProvider"])
        turns = [{key: array.copy() for key, array in inputs.items()} for _ in range(case.turns)]

        def seconds_of(runs: int) -> float:
            start = time.perf_counter()
            for run in range(runs):
                session.run(outputs, turns[run % len(turns)])
            return time.perf_counter() - start

        median, samples = peer.measure(seconds_of, len(turns), peer.effort(options))
        return Result(name, case.kernel, case.name, median, samples, f"CPU, {options.threads} threads, wall clock")

    def results() -> Iterator[Result]:
        # Nobody asks how a CPU compares with a GPU.
        for case in cases if on_cpu else []:
            model = WORK[case.kernel](case) if case.kernel in WORK else None
            if model is None:
                continue
            print(f"{name}: {case.kernel} {case.name}", file=sys.stderr)
            try:
                yield result(case, model)
            except Exception as error:
                yield Result(name, case.kernel, case.name, None, 0, peer.reason("", error))

    peer.write(options.json, results())


if __name__ == "__main__":
    main()
