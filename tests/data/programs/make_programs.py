#!/usr/bin/env python3
"""Writes the .textproto programs beside it: a tiny llama-like model cut for one or more ranks.

The programs are what tests of the executor run, so they are written here without the compiler's help. Weights are named
as in a checkpoint; tests/executor/runtime/tiny_model.h says what they hold and computes the same model in double.

D hidden, H query heads, G KV heads, E head dim, F ffn dim, V vocabulary.
"""
import os

D, H, G, E, F, V, LAYERS = 64, 4, 2, 16, 96, 100, 2
EXPERTS, TOP_K_EXPERTS, EXPERT_F = 4, 2, 32
MAX_TOKENS, MAX_ROWS, MAX_CONTEXT, NUM_PAGES, CANDIDATES = 24, 24, 192, 7, 8
FREQUENCIES = [10000.0 ** (-2.0 * i / E) for i in range(E // 2)]


class Rank:
    """Collects one rank's program; `part(total, unit)` gives this rank's share of a dimension."""

    def __init__(self, rank, world, experts_per_token=0):
        self.rank, self.world, self.experts_per_token = rank, world, experts_per_token
        self.buffers, self.weights, self.caches, self.kernels, self.calls = {}, {}, {}, [], []
        self.offset, self.region = 0, 0
        self.tail = []

    def buffer(self, name, encoding, rows, columns, source=""):
        if name in self.buffers:
            return self.buffers[name][0]
        count = {"TOKENS": MAX_TOKENS, "ROWS": MAX_ROWS, "ONE": 1, "EXPERT_ROWS": MAX_TOKENS * self.experts_per_token}[rows]
        size = (4 * columns * count + 63) // 64 * 64
        text = f'name: "{name}" encoding: {encoding} rows: {rows} columns: {columns} offset_bytes: {self.offset} size_bytes: {size}'
        if source:
            text += f' input: "{source}"'
        self.offset += size
        self.buffers[name] = (len(self.buffers), text)
        return self.buffers[name][0]

    def matrix(self, name, tensors, shape, rows, columns):
        if name not in self.weights:
            slices = " ".join(
                f'slices {{ tensor: "{tensor}" rows: {shape[0]} columns: {shape[1]} row_begin: {rows[0]} row_end: {rows[1]}'
                f' column_begin: {columns[0]} column_end: {columns[1]} }}' for tensor in tensors)
            self.weights[name] = (len(self.weights), f'name: "{name}" encoding: F32 layout: PANELS rows: {rows[1] - rows[0]}'
                                  f' columns: {columns[1] - columns[0]} {slices}')
        return self.weights[name][0]

    def vector(self, name, columns):
        if name not in self.weights:
            self.weights[name] = (len(self.weights), f'name: "{name}" encoding: F32 layout: VECTOR rows: 1 columns: {columns} slices {{'
                                  f' tensor: "{name}" rows: 1 columns: {columns} row_begin: 0 row_end: 1 column_begin: 0 column_end: {columns} }}')
        return self.weights[name][0]

    def cache(self, name, heads):
        if name not in self.caches:
            self.caches[name] = (len(self.caches), f'name: "{name}" encoding: F32 kv_heads: {heads} key_dim: {E} value_dim: {E}')
        return self.caches[name][0]

    def call(self, name, what, ins, outs, rows="TOKENS", barrier=True, chain=0):
        """Calls share a region until one with a barrier ends it."""
        if not what.startswith("collective"):
            if what not in self.kernels:
                self.kernels.append(what)
            what = f"kernel: {self.kernels.index(what)}"
        text = f'name: "{name}" {what}'
        for side, operands in (("in", ins), ("out", outs)):
            for kind, index in operands:
                text += f" {side} {{ {kind}: {index} }}"
        text += f' rows: {rows} region: "{self.region}"'
        if chain:
            text += f" chain: {chain}"
        if barrier:
            self.region += 1
        self.calls.append(text)

    def collective(self, name, op, ins, outs, rows="TOKENS", ranks=None, peers=None):
        members = "".join(f" ranks: {r}" for r in ranks or []) + "".join(f" peers: {p}" for p in peers or [])
        self.call(name, f"collective {{ op: {op}{members} }}", ins, outs, rows)

    def write(self, name):
        lines = ["# Written by make_programs.py.", f'model: "{name}"', f"rank: {self.rank}", f"world_size: {self.world}",
                 f"max_tokens: {MAX_TOKENS}", f"max_rows: {MAX_ROWS}", f"max_context: {MAX_CONTEXT}", "page_tokens: 64",
                 f"num_pages: {NUM_PAGES}", f"vocab_size: {V}", f"arena_bytes: {self.offset}"]
        for key, items in (("buffers", self.buffers), ("weights", self.weights), ("caches", self.caches)):
            lines += [f"{key} {{ {text} }}" for _, text in items.values()]
        lines += [f"kernels {{ {text} }}" for text in self.kernels]
        lines += [f"calls {{ {text} }}" for text in self.calls]
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".textproto")
        with open(path, "w") as out:
            out.write("\n".join(lines + self.tail) + "\n")


class Model:
    """Emits the layers of a tensor-parallel group `ranks` (of the job) as seen by its member `r.rank`."""

    def __init__(self, r, ranks, moe):
        self.r, self.ranks, self.moe = r, ranks, moe
        self.me, self.n = ranks.index(r.rank), len(ranks)

    def part(self, total, unit):
        """Uneven on purpose: the first member gets what does not divide."""
        units = total // unit
        base = units // self.n
        first = units - base * (self.n - 1)
        if self.n > 1 and units > 2 * self.n:
            first += 1
            base = (units - first) // (self.n - 1)
            assert first + base * (self.n - 1) == units
        sizes = [first] + [base] * (self.n - 1)
        begin = sum(sizes[:self.me]) * unit
        return begin, begin + sizes[self.me] * unit

    def f32(self, name, columns, rows="TOKENS"):
        return ("buffer", self.r.buffer(name, "F32", rows, columns))

    def i32(self, name, columns, rows="TOKENS", source=""):
        return ("buffer", self.r.buffer(name, "I32", rows, columns, source))

    def reduce(self, name, value, columns):
        """Adds partial sums of the group; in place."""
        if self.n > 1:
            self.r.collective(name, "ALL_REDUCE", [value], [value], ranks=self.ranks)
        return value

    def matmul(self, name, x, out, tensor, shape, rows, columns, call_rows="TOKENS", grain=0, barrier=True, chain=0):
        weight = ("weight", self.r.matrix(name, [tensor], shape, rows, columns))
        n, k = rows[1] - rows[0], columns[1] - columns[0]
        self.r.call(name, f"op: MATMUL weight: F32 input: F32 n: {n} k: {k}" + (f" grain: {grain}" if grain else ""), [x, weight],
                    [out], call_rows, barrier, chain)

    def embedding(self):
        rows = self.part(V, 20)
        table = ("weight", self.r.matrix("model.embed_tokens", ["model.embed_tokens.weight"], (V, D), rows, (0, D)))
        h = self.f32("h", D)
        self.r.call("embed", f"op: EMBED weight: F32 n: {rows[1] - rows[0]} k: {D} index_offset: {rows[0]}",
                    [self.i32("tokens", 1, source="tokens"), table], [h])
        return self.reduce("embed.all_reduce", h, D)

    def norm(self, name, x, out, barrier=True, rows="TOKENS"):
        self.r.call(name, f"op: RMS_NORM n: {D} epsilon: 1e-5", [x, ("weight", self.r.vector(name + ".weight", D))], [out], rows, barrier)

    def attention(self, layer, h):
        p = f"model.layers.{layer}.self_attn."
        kv = self.part(G, 1)
        kv_heads, heads = kv[1] - kv[0], (kv[1] - kv[0]) * (H // G)
        q_rows, kv_rows = (kv[0] * (H // G) * E, kv[1] * (H // G) * E), (kv[0] * E, kv[1] * E)
        n, q = self.f32("n", D), self.f32("q", heads * E)
        k, v, a = self.f32("k", kv_heads * E), self.f32("v", kv_heads * E), self.f32("a", heads * E)
        self.norm(f"model.layers.{layer}.input_layernorm", h, n, barrier=False)
        cache = ("cache", self.r.cache(f"model.layers.{layer}", kv_heads))
        angles = " ".join(f"rope_frequencies: {f!r}" for f in FREQUENCIES)

        def rope(name, value, count, chain):
            self.r.call(f"{p}{name}_rope", f"op: ROPE heads: {count} head_dim: {E} rotary_dim: {E} scale: 1 {angles} grain: {E}", [value],
                        [value], barrier=False, chain=chain)

        # One region: the norm leads the chain of the queries and that of keys and values, each divided by heads.
        self.matmul(p + "q_proj", n, q, p + "q_proj.weight", (H * E, D), q_rows, (0, D), grain=E, barrier=False, chain=1)
        rope("q", q, heads, chain=1)
        self.matmul(p + "k_proj", n, k, p + "k_proj.weight", (G * E, D), kv_rows, (0, D), grain=E, barrier=False, chain=2)
        self.matmul(p + "v_proj", n, v, p + "v_proj.weight", (G * E, D), kv_rows, (0, D), grain=E, barrier=False, chain=2)
        rope("k", k, kv_heads, chain=2)
        self.r.call(p + "append", f"op: KV_APPEND kv_heads: {kv_heads} head_dim: {E} cache: F32 grain: {E}", [k, v, cache], [], chain=2)
        self.r.call(p + "attention", f"op: ATTENTION heads: {heads} kv_heads: {kv_heads} head_dim: {E} group: {H // G} scale: {E ** -0.5!r}"
                    " cache: F32", [q, cache], [a])
        o = self.f32("o", D)
        self.matmul(p + "o_proj", a, o, p + "o_proj.weight", (D, H * E), (0, D), q_rows)
        return self.reduce(p + "all_reduce", o, D)

    def add(self, name, a, b, barrier):
        self.r.call(name, f"op: ADD n: {D}", [a, b], [a], barrier=barrier)

    def dense_ffn(self, layer, n):
        p = f"model.layers.{layer}.mlp."
        rows = self.part(F, 32)
        f = rows[1] - rows[0]
        gate, up, down = self.f32("gate", f), self.f32("up", f), self.f32("down", D)
        self.matmul(p + "gate_proj", n, gate, p + "gate_proj.weight", (F, D), rows, (0, D))
        self.matmul(p + "up_proj", n, up, p + "up_proj.weight", (F, D), rows, (0, D))
        self.r.call(p + "act", f"op: SILU_MUL n: {f}", [gate, up], [gate])
        self.matmul(p + "down_proj", gate, down, p + "down_proj.weight", (D, F), (0, D), rows)
        return self.reduce(p + "all_reduce", down, D)

    def expert_ffn(self, layer, n):
        """Experts are split inside: every rank has a part of each."""
        p = f"model.layers.{layer}.mlp."
        rows = self.part(EXPERT_F, 16)
        f, top_k = rows[1] - rows[0], TOP_K_EXPERTS
        experts = f"experts: {EXPERTS} top_k: {top_k}"
        scores = self.f32("scores", EXPERTS)
        self.matmul(p + "gate", n, scores, p + "gate.weight", (EXPERTS, D), (0, EXPERTS), (0, D))
        weights, ids = self.f32("expert_weights", top_k), self.i32("expert_ids", top_k)
        self.r.call(p + "router", f"op: ROUTER_TOP_K {experts} normalize: true factor: 1", [scores], [weights, ids])
        order, segments = self.i32("order", 1, "EXPERT_ROWS"), self.i32("segments", EXPERTS + 1, "ONE")
        self.r.call(p + "dispatch", f"op: EXPERT_DISPATCH {experts}", [ids], [order, segments])

        def stack(name, shape, rows, columns, x, out, group):
            tensors = [f"{p}experts.{e}.{name}.weight" for e in range(EXPERTS)]
            weight = ("weight", self.r.matrix(p + name, tensors, shape, rows, columns))
            size = f"n: {rows[1] - rows[0]} k: {columns[1] - columns[0]}"
            self.r.call(p + name, f"op: EXPERT_MATMUL weight: F32 input: F32 {size} {experts} group: {group}", [x, weight, order, segments],
                        [out], "EXPERT_ROWS")

        gate, up = self.f32("expert_gate", f, "EXPERT_ROWS"), self.f32("expert_up", f, "EXPERT_ROWS")
        pairs, down = self.f32("expert_down", D, "EXPERT_ROWS"), self.f32("down", D)
        stack("gate_proj", (EXPERT_F, D), rows, (0, D), n, gate, top_k)
        stack("up_proj", (EXPERT_F, D), rows, (0, D), n, up, top_k)
        self.r.call(p + "act", f"op: SILU_MUL n: {f}", [gate, up], [gate], "EXPERT_ROWS")
        stack("down_proj", (D, EXPERT_F), (0, D), rows, gate, pairs, 1)
        self.r.call(p + "sum", f"op: WEIGHTED_SUM n: {D} top_k: {top_k}", [pairs, weights], [down])
        return self.reduce(p + "all_reduce", down, D)

    def layer(self, layer, h):
        o = self.attention(layer, h)
        self.add(f"model.layers.{layer}.attention_residual", h, o, barrier=False)
        n = self.f32("n", D)
        self.norm(f"model.layers.{layer}.post_attention_layernorm", h, n)
        down = self.expert_ffn(layer, n) if self.moe and layer == 1 else self.dense_ffn(layer, n)
        self.add(f"model.layers.{layer}.mlp_residual", h, down, barrier=True)

    def head(self, h):
        rows = self.part(V, 20)
        picked, final = self.f32("picked", D, "ROWS"), self.f32("final", D, "ROWS")
        self.r.call("take_rows", f"op: TAKE_ROWS n: {D}", [h, self.i32("rows", 1, "ROWS", "rows")], [picked], "ROWS", barrier=False)
        self.norm("model.norm", picked, final, rows="ROWS")
        columns = rows[1] - rows[0]
        logits = self.f32("logits", columns, "ROWS")
        self.tied_head(final, logits, rows)
        values, ids = self.f32("values", CANDIDATES, "ROWS"), self.i32("ids", CANDIDATES, "ROWS")
        self.r.call("top_k", f"op: TOP_K n: {columns} top_k: {CANDIDATES} index_offset: {rows[0]}", [logits], [values, ids], "ROWS")
        self.r.tail += [f"logits: {logits[1]}", f"logits_begin: {rows[0]}"]
        if self.n > 1:
            merged = self.f32("merged_values", CANDIDATES, "ROWS"), self.i32("merged_ids", CANDIDATES, "ROWS")
            self.r.collective("top_k_merge", "TOP_K_MERGE", [values, ids], list(merged), "ROWS", ranks=self.ranks)
            values, ids = merged
        return values, ids

    def tied_head(self, x, out, rows):
        weight = ("weight", self.r.weights["model.embed_tokens"][0]) if "model.embed_tokens" in self.r.weights else (
            "weight", self.r.matrix("model.embed_tokens", ["model.embed_tokens.weight"], (V, D), rows, (0, D)))
        self.r.call("lm_head", f"op: MATMUL weight: F32 input: F32 n: {rows[1] - rows[0]} k: {D}", [x, weight], [out], "ROWS")

    def output(self, values, ids):
        self.r.tail += [f"output_values: {values[1]}", f"output_ids: {ids[1]}"]


def tensor_parallel(name, world, moe):
    for rank in range(world):
        r = Rank(rank, world, TOP_K_EXPERTS if moe else 0)
        model = Model(r, list(range(world)), moe)
        h = model.embedding()
        for layer in range(LAYERS):
            model.layer(layer, h)
        model.output(*model.head(h))
        r.write(name if world == 1 else f"{name}_tp{world}_rank{rank}")


def pipeline(name):
    """Rank 0 has the embedding and layer 0, ranks 1 and 2 share layer 1 and the head, and return the candidates."""
    r = Rank(0, 3)
    model = Model(r, [0], False)
    h = model.embedding()
    model.layer(0, h)
    r.collective("send.h", "SEND", [h], [], peers=[1, 2])
    values, ids = model.f32("values", CANDIDATES, "ROWS"), model.i32("ids", CANDIDATES, "ROWS")
    r.collective("recv.values", "RECV", [], [values], "ROWS", peers=[1])
    r.collective("recv.ids", "RECV", [], [ids], "ROWS", peers=[1])
    model.output(values, ids)
    r.write(f"{name}_pp2_rank0")
    for rank in (1, 2):
        r = Rank(rank, 3)
        model = Model(r, [1, 2], False)
        h = model.f32("h", D)
        r.collective("recv.h", "RECV", [], [h], peers=[0])
        model.layer(1, h)
        values, ids = model.head(h)
        if rank == 1:
            r.collective("send.values", "SEND", [values], [], "ROWS", peers=[0])
            r.collective("send.ids", "SEND", [ids], [], "ROWS", peers=[0])
        model.output(values, ids)
        r.write(f"{name}_pp2_rank{rank}")


tensor_parallel("tiny_llama", 1, moe=False)
tensor_parallel("tiny_llama", 2, moe=False)
tensor_parallel("tiny_moe", 1, moe=True)
tensor_parallel("tiny_moe", 2, moe=True)
pipeline("tiny_llama")
