"""The network that is trained: a llama as Hugging Face writes it (RMSNorm, rotary halves, grouped queries, gated MLP, tied embedding)."""
import math

import torch
import torch.nn.functional as F

# H hidden, L layers, F ffn, N query heads, K KV heads, D head dim, V vocabulary
H, L, FFN, N, K, D, V = 192, 4, 512, 8, 4, 32, 2048
EPS, ROPE_BASE, CONTEXT = 1e-5, 10000.0, 1024

SHAPES = {"self_attn.q_proj": (N * D, H), "self_attn.k_proj": (K * D, H), "self_attn.v_proj": (K * D, H), "self_attn.o_proj": (H, N * D),
          "mlp.gate_proj": (FFN, H), "mlp.up_proj": (FFN, H), "mlp.down_proj": (H, FFN)}


def make_parameters(seed):
    """Name → tensor, named as in a checkpoint. What writes into the residual stream begins at zero."""
    random = torch.Generator().manual_seed(seed)
    parameters = {"model.embed_tokens.weight": torch.randn(V, H, generator=random) * 0.05, "model.norm.weight": torch.ones(H)}
    for layer in range(L):
        prefix = f"model.layers.{layer}."
        for name, (rows, columns) in SHAPES.items():
            is_output = name.endswith(("o_proj", "down_proj"))
            parameters[prefix + name + ".weight"] = torch.zeros(rows, columns) if is_output else torch.randn(rows, columns, generator=random) / math.sqrt(columns)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            parameters[prefix + norm + ".weight"] = torch.ones(H)
    return parameters


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


class Rotation:
    """Tables for T positions, and their use on [B, heads, T, D]: halves, not pairs."""

    def __init__(self, num_tokens):
        frequencies = ROPE_BASE ** (-torch.arange(0, D, 2) / D)
        angles = torch.arange(num_tokens)[:, None] * frequencies[None]
        self.cos, self.sin = angles.cos(), angles.sin()

    def __call__(self, x):
        a, b = x.split(D // 2, -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1)


def attention(x, weight, rotate, mask):
    batch, tokens, _ = x.shape
    heads = lambda name, count: F.linear(x, weight(f"self_attn.{name}_proj")).view(batch, tokens, count, D).transpose(1, 2)
    q, k, v = rotate(heads("q", N)), rotate(heads("k", K)), heads("v", K)
    grouped = q.reshape(batch, K, N // K * tokens, D)  # the query heads of a KV head, one below the other
    scores = (grouped @ k.transpose(2, 3)).view(batch, K, N // K, tokens, tokens) * D ** -0.5 + mask
    out = scores.softmax(-1).view(batch, K, N // K * tokens, tokens) @ v
    return F.linear(out.view(batch, N, tokens, D).transpose(1, 2).reshape(batch, tokens, N * D), weight("self_attn.o_proj"))


def mlp(x, weight):
    return F.linear(F.silu(F.linear(x, weight("mlp.gate_proj"))) * F.linear(x, weight("mlp.up_proj")), weight("mlp.down_proj"))


def hidden_states(parameters, tokens):
    """[B, T] ids → [B, T, H], normalised; their products with the embedding are the logits."""
    num_tokens = tokens.shape[1]
    rotate = Rotation(num_tokens)
    mask = torch.full((num_tokens, num_tokens), -1e9).triu(1)
    x = F.embedding(tokens, parameters["model.embed_tokens.weight"])
    for layer in range(L):
        weight = lambda name, prefix=f"model.layers.{layer}.": parameters[prefix + name + ".weight"]
        x = x + attention(norm(x, weight("input_layernorm")), weight, rotate, mask)
        x = x + mlp(norm(x, weight("post_attention_layernorm")), weight)
    return norm(x, parameters["model.norm.weight"])


def logits(parameters, hidden):
    return hidden @ parameters["model.embed_tokens.weight"].t()
