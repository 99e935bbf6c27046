"""Decoder-only transformers in numpy, f64, one position after another in plain formulas: the oracle for families whose published
implementation is not at hand.  Written from the families' papers and published code, sharing nothing with exoc.

Shapes: T tokens, H hidden size, D head dim, E experts.  No cache: every call computes all positions anew.
"""
import math

import numpy as np


def rms_norm(x, weight, eps, offset=0.0):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * (offset + weight)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def soft_cap(x, cap):
    return cap * np.tanh(x / cap) if cap else x


# ---- rotary embedding: (inverse frequencies, factor of cos and sin)

def plain_frequencies(theta, dim):
    return theta ** (-np.arange(0, dim, 2) / dim)


def yarn(theta, dim, rope):
    """Peng et al. 2023: slow dimensions are interpolated, fast ones kept, a ramp between the two."""
    original, factor = rope["original_max_position_embeddings"], rope["factor"]

    def turning(rotations):
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = turning(rope.get("beta_fast", 32.0)), turning(rope.get("beta_slow", 1.0))
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 1e-3), 0, 1)
    kept = plain_frequencies(theta, dim)
    return kept / factor * ramp + kept * (1 - ramp), rope.get("attention_factor", 0.1 * math.log(factor) + 1)


def long_rope(config, rope, theta, dim, context):
    """Ding et al. 2024: a factor per frequency, one list within the original length and one beyond it."""
    original = config["original_max_position_embeddings"]
    factors = rope["long_factor"] if context > original else rope["short_factor"]
    grown = config["max_position_embeddings"] / original
    attention = math.sqrt(1 + math.log(grown) / math.log(original)) if grown > 1 else 1.0
    return plain_frequencies(theta, dim) / np.array(factors), attention


def rotary(config, dim, context):
    rope, theta = config.get("rope_scaling") or {}, config["rope_theta"]
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "yarn":
        return yarn(theta, dim, rope)
    if kind in ("longrope", "su"):
        return long_rope(config, rope, theta, dim, context)
    frequencies = plain_frequencies(theta, dim)
    if kind == "linear":
        return frequencies / rope["factor"], 1.0
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        return frequencies * ((1 - smooth) / rope["factor"] + smooth), 1.0
    assert kind == "default", kind
    return frequencies, 1.0


def turn(x, table):
    """x: [T, heads, D]; the leading 2 * len(frequencies) elements of a head rotate, the first half with the second."""
    frequencies, factor = table
    half = len(frequencies)
    angle = np.arange(len(x))[:, None, None] * frequencies
    cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


class Decoder:
    """config: as in config.json; weights: name -> f64 array; context: the length for which rotary tables are chosen."""

    def __init__(self, config, weights, context):
        self.c, self.w = config, weights
        self.family = config["model_type"]
        self.dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        self.offset = 1.0 if self.family.startswith("gemma") else 0.0
        rotated = int(self.dim * config.get("partial_rotary_factor", 1.0))
        self.rope = rotary(config, rotated, context)
        self.window_rope = self.rope
        if self.family == "gemma3_text":
            self.window_rope = plain_frequencies(config["rope_local_base_freq"], self.dim), 1.0
        self.act = gelu_tanh if self.family.startswith("gemma") else silu

    def norm(self, name, x):
        return rms_norm(x, self.w[name + ".weight"], self.c["rms_norm_eps"], self.offset)

    def linear(self, name, x):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    # ---- attention

    def window(self, layer):
        c = self.c
        if self.family == "phi3" or self.family == "mistral":
            return c.get("sliding_window")
        if self.family in ("gemma2", "gemma3_text", "gpt_oss"):
            pattern = {"gemma2": 2, "gpt_oss": 2}.get(self.family) or c.get("sliding_window_pattern", 6)
            return c["sliding_window"] if (layer + 1) % pattern else None
        return None

    def project(self, prefix, n):
        c = self.c
        if prefix + "qkv_proj.weight" in self.w:
            widths = np.cumsum([c["num_attention_heads"] * self.dim, c["num_key_value_heads"] * self.dim])
            return np.split(self.linear(prefix + "qkv_proj", n), widths, axis=-1)
        return [self.linear(prefix + name, n) for name in ("q_proj", "k_proj", "v_proj")]

    def attention(self, layer, n):
        c, prefix = self.c, f"model.layers.{layer}.self_attn."
        q, k, v = self.project(prefix, n)
        has_norm = prefix + "q_norm.weight" in self.w
        if has_norm and self.family == "olmo2":  # over all heads at once
            q, k = self.norm(prefix + "q_norm", q), self.norm(prefix + "k_norm", k)
        q, k, v = (x.reshape(len(n), -1, self.dim) for x in (q, k, v))
        if has_norm and self.family != "olmo2":
            q, k = self.norm(prefix + "q_norm", q), self.norm(prefix + "k_norm", k)
        window = self.window(layer)
        table = self.window_rope if window else self.rope
        q, k = turn(q, table), turn(k, table)
        scale = c.get("query_pre_attn_scalar", self.dim) ** -0.5
        i, j = np.arange(len(n))[:, None], np.arange(len(n))[None, :]
        visible = (j <= i) & (j > i - window if window else True)
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        out = np.zeros_like(q)
        for head in range(q.shape[1]):
            scores = soft_cap(q[:, head] @ k[:, head // group].T * scale, c.get("attn_logit_softcapping"))
            scores = np.where(visible, scores, -np.inf)
            if prefix + "sinks" in self.w:  # one more logit, whose value is nothing
                scores = np.concatenate([scores, np.full((len(n), 1), self.w[prefix + "sinks"][head])], axis=1)
            out[:, head] = softmax(scores)[:, : len(n)] @ v[:, head // group]
        return self.linear(prefix + "o_proj", out.reshape(len(n), -1))

    # ---- MLP

    def mlp(self, name, n):
        if name + ".gate_up_proj.weight" in self.w:
            gate, up = np.split(self.linear(name + ".gate_up_proj", n), 2, axis=-1)
        else:
            gate, up = self.linear(name + ".gate_proj", n), self.linear(name + ".up_proj", n)
        return self.linear(name + ".down_proj", self.act(gate) * up)

    def is_sparse(self, layer):
        c = self.c
        if self.family in ("mixtral", "gpt_oss"):
            return True
        if self.family in ("qwen2_moe", "qwen3_moe"):
            return layer not in c.get("mlp_only_layers", []) and (layer + 1) % c.get("decoder_sparse_step", 1) == 0
        return self.family == "glm4_moe" and layer >= c["first_k_dense_replace"]

    def route(self, name, n):
        """(chosen experts, their weights) per token."""
        c, k, logits = self.c, self.c["num_experts_per_tok"], self.linear(name, n)
        if self.family == "gpt_oss":
            chosen = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
            return chosen, softmax(np.take_along_axis(logits, chosen, -1))
        if self.family != "glm4_moe":
            shares = softmax(logits)
            chosen = np.argsort(-shares, axis=-1, kind="stable")[:, :k]
            weights = np.take_along_axis(shares, chosen, -1)
            if self.family == "mixtral" or c.get("norm_topk_prob"):
                weights = weights / weights.sum(-1, keepdims=True)
            return chosen, weights
        shares = 1 / (1 + np.exp(-logits))
        scores = shares + self.w[name + ".e_score_correction_bias"]
        groups = scores.reshape(len(n), c["n_group"], -1)
        sums = np.sort(groups, axis=-1)[..., -2:].sum(-1)
        kept = np.argsort(-sums, axis=-1, kind="stable")[:, : c["topk_group"]]
        allowed = np.zeros(sums.shape, bool)
        np.put_along_axis(allowed, kept, True, -1)
        scores = np.where(allowed[..., None], groups, -np.inf).reshape(scores.shape)
        chosen = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
        weights = np.take_along_axis(shares, chosen, -1)
        if c["norm_topk_prob"]:
            weights = weights / weights.sum(-1, keepdims=True)
        return chosen, weights * c["routed_scaling_factor"]

    def expert(self, prefix, e, n):
        if self.family == "mixtral":
            name = f"{prefix}block_sparse_moe.experts.{e}."
            return self.linear(name + "w2", silu(self.linear(name + "w1", n)) * self.linear(name + "w3", n))
        if self.family != "gpt_oss":
            return self.mlp(f"{prefix}mlp.experts.{e}", n)
        experts = prefix + "mlp.experts."
        both = n @ self.w[experts + "gate_up_proj"][e] + self.w[experts + "gate_up_proj_bias"][e]
        gate, up = np.minimum(both[:, ::2], 7.0), np.clip(both[:, 1::2], -7.0, 7.0)
        return (up + 1) * gate / (1 + np.exp(-1.702 * gate)) @ self.w[experts + "down_proj"][e] + self.w[experts + "down_proj_bias"][e]

    def mixture(self, layer, n):
        prefix = f"model.layers.{layer}."
        router = {"mixtral": "block_sparse_moe.gate", "gpt_oss": "mlp.router"}.get(self.family, "mlp.gate")
        chosen, weights = self.route(prefix + router, n)
        out = np.zeros_like(n)
        for t in range(len(n)):
            for e, weight in zip(chosen[t], weights[t]):
                out[t] += weight * self.expert(prefix, e, n[t : t + 1])[0]
        if prefix + "mlp.shared_expert.up_proj.weight" in self.w:
            share = 1 / (1 + np.exp(-self.linear(prefix + "mlp.shared_expert_gate", n)))
            out = out + share * self.mlp(prefix + "mlp.shared_expert", n)
        if prefix + "mlp.shared_experts.up_proj.weight" in self.w:
            out = out + self.mlp(prefix + "mlp.shared_experts", n)
        return out

    # ---- the whole

    def layer(self, index, x):
        prefix = f"model.layers.{index}."
        mlp = lambda n: self.mixture(index, n) if self.is_sparse(index) else self.mlp(prefix + "mlp", n)
        if self.family == "olmo2":
            x = x + self.norm(prefix + "post_attention_layernorm", self.attention(index, x))
            return x + self.norm(prefix + "post_feedforward_layernorm", mlp(x))
        attended = self.attention(index, self.norm(prefix + "input_layernorm", x))
        if self.family.startswith("gemma"):
            x = x + self.norm(prefix + "post_attention_layernorm", attended)
            return x + self.norm(prefix + "post_feedforward_layernorm", mlp(self.norm(prefix + "pre_feedforward_layernorm", x)))
        x = x + attended
        return x + mlp(self.norm(prefix + "post_attention_layernorm", x))

    def logits(self, ids):
        """[T] -> [T, vocabulary]"""
        table = self.w["model.embed_tokens.weight"]
        x = table[np.asarray(ids)]
        if self.family.startswith("gemma"):
            x = x * math.sqrt(self.c["hidden_size"])
        for index in range(self.c["num_hidden_layers"]):
            x = self.layer(index, x)
        head = table if self.c.get("tie_word_embeddings") else self.w["lm_head.weight"]
        return soft_cap(self.norm("model.norm", x) @ head.T, self.c.get("final_logit_softcapping"))
