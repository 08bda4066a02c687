"""Runs a plan that `cargo run --example export` wrote: `pip install wgpu numpy`, then `python run.py tome.json FOLDER [ADAPTER]`.

FOLDER/NAME.bin holds the numbers of the input NAME as they lie in memory. The outputs are written beside them.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import wgpu

plan, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if sys.argv[3:4] == [] or sys.argv[3] in a.summary]
limits = {re.sub("([A-Z])", lambda m: "-" + m[1].lower(), name): value for name, value in plan["limits"].items()}
device = adapters[0].request_device_sync(required_features=plan["features"], required_limits=limits)

STORAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
buffers = {"workspace": device.create_buffer(size=max(plan["workspace"], 4), usage=STORAGE)}
buffers["constants"] = device.create_buffer_with_data(data=np.array(plan["constants"] or [0], np.uint32), usage=STORAGE)
tensors = {t["name"]: device.create_buffer(size=max(t["bytes"], 4), usage=STORAGE) for t in plan["inputs"] + plan["outputs"]}
layouts = []
for shader in plan["shaders"]:
    entries = [{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": t}} for i, t in enumerate(shader["bindings"])]
    layouts.append(device.create_bind_group_layout(entries=entries))
modules = [device.create_shader_module(label=shader["label"], code=shader["code"]) for shader in plan["shaders"]]
pipelines = []
for p in plan["pipelines"]:
    layout = device.create_pipeline_layout(bind_group_layouts=[layouts[p["shader"]]])
    compute = {"module": modules[p["shader"]], "entry_point": "main", "constants": p["constants"]}
    pipelines.append(device.create_compute_pipeline(layout=layout, compute=compute))
steps = []
for d in plan["dispatches"]:
    uniform = device.create_buffer_with_data(data=np.array(d["uniforms"], np.uint32), usage=wgpu.BufferUsage.UNIFORM)
    resources = [{"buffer": uniform, "offset": 0, "size": 4 * len(d["uniforms"])}]
    for b in d["bindings"]:
        buffer = buffers[b["buffer"]] if isinstance(b["buffer"], str) else tensors[b["buffer"]["tensor"]]
        resources.append({"buffer": buffer, "offset": b["offset"], "size": b["size"]})
    entries = [{"binding": i, "resource": resource} for i, resource in enumerate(resources)]
    steps.append((pipelines[d["pipeline"]], device.create_bind_group(layout=layouts[plan["pipelines"][d["pipeline"]]["shader"]], entries=entries), d))

for t in plan["inputs"]:
    if t["bytes"]:
        data = (folder / (t["name"] + ".bin")).read_bytes()
        device.queue.write_buffer(tensors[t["name"]], 0, data + bytes(t["bytes"] - len(data)))
encoder = device.create_command_encoder()
compute_pass = encoder.begin_compute_pass()
for pipeline, group, d in steps:
    compute_pass.set_pipeline(pipeline)
    compute_pass.set_bind_group(0, group)
    compute_pass.dispatch_workgroups(*d["workgroups"])
compute_pass.end()
device.queue.submit([encoder.finish()])
for t in plan["outputs"]:
    (folder / (t["name"] + ".bin")).write_bytes(device.queue.read_buffer(tensors[t["name"]], 0, t["bytes"]) if t["bytes"] else b"")
print(f"{plan['outputs'][0]['name']} {plan['outputs'][0]['shape']} and {len(plan['outputs']) - 1} more on {adapters[0].summary}")
