"""PyTorch at the vit example's model: with and without the same compression, on the CPU.

    vit.py --weights vit-s-14-saliency.safetensors --compress tome:r=8 --compress topk:layer=3,keep=128 --json vit.json

One photo at a time, from pixels to the normalised class token, as `vit --evaluate cost` times it. Written from the definitions, as a user of
PyTorch would write them; merged tokens count in attention as often as they have members.
"""

import sys

# `torch` is the package and not the file beside this one.
sys.path.append(sys.path.pop(0))

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

HEADS, PATCH = 6, 14


class Model:
    """ViT-S/14 with a class token and LayerScale."""

    def __init__(self, path: Path, size: int = 224) -> None:
        self.weights = load_file(path)
        table = self.weights["backbone.embeddings.position_embeddings"]
        side, channels = math.isqrt(table.shape[1] - 1), table.shape[2]
        grid = table[:, 1:].reshape(1, side, side, channels).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(size // PATCH, size // PATCH), mode="bicubic", align_corners=False)
        self.positions = torch.cat([table[:, :1], grid.flatten(2).mT], dim=1)
        self.layers = sum(name.endswith("norm1.weight") for name in self.weights)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-6)

    @torch.inference_mode()
    def run(self, photo: Tensor, steps: list["Step"]) -> tuple[Tensor, int]:
        """The class token of `[batch, 3, size, size]`, normalised, and how many tokens are left."""
        name = "backbone.embeddings.patch_embeddings.projection"
        patches = F.conv2d(photo, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride=PATCH)
        first = self.weights["backbone.embeddings.cls_token"].expand(len(photo), -1, -1)
        x = torch.cat([first, patches.flatten(2).mT], dim=1) + self.positions
        sizes = None
        for layer in range(self.layers):
            name = f"backbone.encoder.layer.{layer}"
            normed = self.norm(f"{name}.norm1", x)
            heads = [self.linear(f"{name}.attention.attention.{part}", normed) for part in ("query", "key", "value")]
            queries, keys, values = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in heads)
            bias = None if sizes is None else sizes.log()[:, None, None]
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias).transpose(1, 2).flatten(2)
            x = x + self.linear(f"{name}.attention.output.dense", mixed) * self.weights[f"{name}.layer_scale1.lambda1"]
            for step in steps:
                if step.layer in (None, layer + 1):
                    x, sizes = step.compress(x, sizes, queries, keys)
            hidden = F.gelu(self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x)))
            x = x + self.linear(f"{name}.mlp.fc2", hidden) * self.weights[f"{name}.layer_scale2.lambda1"]
        return self.norm("backbone.layernorm", x[:, 0]), x.shape[1]


class Step:
    """A method with its numbers, as `--compress` has them."""

    def __init__(self, text: str) -> None:
        name, _, pairs = text.partition(":")
        self.numbers = {key: int(value) for key, value in (pair.split("=") for pair in pairs.split(","))}
        self.layer = self.numbers.get("layer")
        self.compress = {"tome": self.tome, "topk": self.top_k}[name]

    def tome(self, x: Tensor, sizes: Tensor | None, _queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The r even tokens most similar to an odd one become one with it; the class token stays."""
        count = x.shape[1]
        r = min(self.numbers["r"], (count - 1) // 2)
        sizes = torch.ones(x.shape[:2]) if sizes is None else sizes
        unit = F.normalize(keys.mean(1), dim=-1)
        similarity = unit[:, ::2] @ unit[:, 1::2].mT
        similarity[:, 0] = -math.inf
        best, partner = similarity.max(-1)
        order = best.argsort(-1, descending=True)
        merged, rest = order[:, :r], order[:, r:].sort(-1).values
        into = partner.gather(1, merged)

        def reduce(rows: Tensor) -> Tensor:
            even, odd = rows[:, ::2], rows[:, 1::2]
            pick = lambda index: even.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))
            index = into[..., None].expand(-1, -1, rows.shape[-1])
            return torch.cat([pick(rest), odd.scatter_add(1, index, pick(merged))], dim=1)

        total = reduce(sizes[..., None])
        return reduce(x * sizes[..., None]) / total, total[..., 0]

    def top_k(self, x: Tensor, sizes: Tensor | None, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor | None]:
        """The patches that the class token attends to most, in their order."""
        scores = (queries[:, :, :1] @ keys.mT / math.sqrt(keys.shape[-1])).softmax(-1).mean(1)[:, 0, 1:]
        best = scores.topk(min(self.numbers["keep"], scores.shape[1]), sorted=False).indices.sort(-1).values + 1
        kept = torch.cat([torch.zeros_like(best[:, :1]), best], dim=1)
        return x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1])), None if sizes is None else sizes.gather(1, kept)


def steps(text: str) -> list[Step]:
    return [Step(step) for step in text.split("+")] if text else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--compress", action="append", default=[])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, photo = Model(options.weights), torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    chains = {text or "none": steps(text) for text in ["", *options.compress]}
    times: dict[str, list[float]] = {name: [] for name in chains}
    for round in range(options.rounds + 2):
        for name, chain in chains.items():
            start = time.perf_counter()
            model.run(photo, chain)
            # The first two warm up.
            if round > 1:
                times[name].append(time.perf_counter() - start)
    rows = [
        {"compression": name, "tokens": model.run(photo, chain)[1], "milliseconds": statistics.median(times[name]) * 1e3}
        for name, chain in chains.items()
    ]
    print(f"PyTorch {torch.__version__}, {options.threads} threads\n\n{'compression':<40}{'tokens':>8}{'median, ms':>14}{'speedup':>10}")
    for row in rows:
        speedup = rows[0]["milliseconds"] / row["milliseconds"]
        print(f"{row['compression']:<40}{row['tokens']:>8}{row['milliseconds']:>14.1f}{speedup:>10.2f}")
    if options.json:
        report = {"peer": f"PyTorch {torch.__version__}", "threads": options.threads, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
