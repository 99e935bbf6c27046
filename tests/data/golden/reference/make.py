"""Makes the golden models of families without logits from elsewhere: a small random checkpoint each, as published ones are laid out,
and what decoder.py computes of it.  make.py [FAMILY...]; writes ../FAMILY.  Odd shapes on purpose: heads, widths and vocabularies that
no power of two divides."""
import json
import pathlib
import sys

import numpy as np

import decoder
import tensors

GOLDEN = pathlib.Path(__file__).resolve().parent.parent
CONTEXT = 256  # also max_position_embeddings: what `exoc run` serves
LENGTHS = (1, 7, 33, 160)
GENERATED = 16
MARGIN = 0.01  # least lead of the best greedy token over the second

COMMON = {"num_hidden_layers": 3, "vocab_size": 101, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
          "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2}

CONFIGS = {
    "qwen2_moe": {"architectures": ["Qwen2MoeForCausalLM"], "hidden_act": "silu", "hidden_size": 36, "intermediate_size": 52, "num_attention_heads": 6,
                  "num_key_value_heads": 2, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 20,
                  "shared_expert_intermediate_size": 28, "norm_topk_prob": False, "decoder_sparse_step": 1, "mlp_only_layers": [1],
                  "use_sliding_window": False, "sliding_window": 40, "max_window_layers": 3},
    "olmo2": {"architectures": ["Olmo2ForCausalLM"], "hidden_act": "silu", "hidden_size": 40, "intermediate_size": 68, "num_attention_heads": 5,
              "num_key_value_heads": 5, "attention_bias": False},
    "phi3": {"architectures": ["Phi3ForCausalLM"], "hidden_act": "silu", "hidden_size": 48, "intermediate_size": 76, "num_attention_heads": 6, "num_key_value_heads": 3,
             "partial_rotary_factor": 0.75, "original_max_position_embeddings": 128, "sliding_window": 50,
             "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.05, 1.2], "long_factor": [1.1, 1.9, 3.4]}},
    "glm4_moe": {"architectures": ["Glm4MoeForCausalLM"], "hidden_act": "silu", "hidden_size": 40, "intermediate_size": 60, "num_attention_heads": 6,
                 "num_key_value_heads": 2, "head_dim": 12, "attention_bias": True, "use_qk_norm": True, "partial_rotary_factor": 0.5,
                 "n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 20, "n_group": 3,
                 "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 1.5, "first_k_dense_replace": 1, "rms_norm_eps": 1e-5},
    "gemma2": {"architectures": ["Gemma2ForCausalLM"], "hidden_size": 36, "intermediate_size": 84, "num_attention_heads": 6,
               "num_key_value_heads": 3, "head_dim": 10, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
               "query_pre_attn_scalar": 14, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, "sliding_window": 20,
               "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1},
    "gemma3_text": {"architectures": ["Gemma3ForCausalLM"], "hidden_size": 36, "intermediate_size": 84, "num_attention_heads": 4,
                    "num_key_value_heads": 1, "head_dim": 14, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 11,
                    "sliding_window": 20, "sliding_window_pattern": 3, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
                    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "attn_logit_softcapping": None,
                    "final_logit_softcapping": None, "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1},
}


def shapes(c, family):
    """name -> shape of every tensor of the checkpoint."""
    hidden, heads, kv_heads, ffn = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], c["intermediate_size"]
    dim = c.get("head_dim") or hidden // heads
    out = {"model.embed_tokens.weight": (c["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (c["vocab_size"], hidden)

    def linear(name, rows, columns, bias=False):
        out[name + ".weight"] = (rows, columns)
        if bias:
            out[name + ".bias"] = (rows,)

    def mlp(name, width):
        linear(name + ".gate_proj", width, hidden)
        linear(name + ".up_proj", width, hidden)
        linear(name + ".down_proj", hidden, width)

    model = decoder.Decoder.__new__(decoder.Decoder)
    model.c, model.family = c, family
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        norms = {"olmo2": ["post_attention", "post_feedforward"]}.get(family, ["input", "post_attention"])
        if family.startswith("gemma"):
            norms = ["input", "post_attention", "pre_feedforward", "post_feedforward"]
        for norm in norms:
            out[f"{prefix}{norm}_layernorm.weight"] = (hidden,)
        attention = prefix + "self_attn."
        bias = family == "qwen2_moe" or c.get("attention_bias", False)
        if family == "phi3":
            linear(attention + "qkv_proj", (heads + 2 * kv_heads) * dim, hidden)
            linear(prefix + "mlp.gate_up_proj", 2 * ffn, hidden)
            linear(prefix + "mlp.down_proj", hidden, ffn)
        else:
            for name, count in (("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)):
                linear(attention + name, count * dim, hidden, bias)
        linear(attention + "o_proj", hidden, heads * dim)
        if family in ("olmo2", "gemma3_text") or c.get("use_qk_norm"):
            joint = family == "olmo2"
            out[attention + "q_norm.weight"] = (heads * dim if joint else dim,)
            out[attention + "k_norm.weight"] = (kv_heads * dim if joint else dim,)
        if model.is_sparse(layer):
            experts = c.get("num_experts") or c["n_routed_experts"]
            linear(prefix + "mlp.gate", experts, hidden)
            for e in range(experts):
                mlp(f"{prefix}mlp.experts.{e}", c["moe_intermediate_size"])
            if family == "qwen2_moe":
                mlp(prefix + "mlp.shared_expert", c["shared_expert_intermediate_size"])
                linear(prefix + "mlp.shared_expert_gate", 1, hidden)
            else:
                mlp(prefix + "mlp.shared_experts", c["moe_intermediate_size"] * c["n_shared_experts"])
                out[prefix + "mlp.gate.e_score_correction_bias"] = (experts,)
        elif family != "phi3":
            mlp(prefix + "mlp", ffn)
    return out


def values(name, shape, family, random):
    if name.endswith("norm.weight"):
        mean = 0.0 if family.startswith("gemma") else 1.0
        # Tied tables make a model repeat what it reads, unless the last norm turns its vector.
        return mean + (1.5 if mean == 0 and name == "model.norm.weight" else 0.2) * random.standard_normal(shape)
    if len(shape) == 1:
        return 0.3 * random.standard_normal(shape)
    if name == "model.embed_tokens.weight":
        return random.standard_normal(shape) * (0.25 if family.startswith("gemma") else 1.0)
    if name == "lm_head.weight":
        return random.standard_normal(shape) * 2.5 / np.sqrt(shape[1])
    return random.standard_normal(shape) * 1.5 / np.sqrt(shape[1])


def build(config, family, seed):
    random = np.random.default_rng(seed)
    stored, weights = {}, {}
    for name, shape in shapes(config, family).items():
        value = values(name, shape, family, random)
        if name.endswith("e_score_correction_bias"):  # published as f32
            stored[name] = "F32", value.astype(np.float32)
            weights[name] = stored[name][1].astype(np.float64)
        else:
            stored[name] = "BF16", tensors.bf16_bits(value)
            weights[name] = tensors.from_bf16(stored[name][1]).astype(np.float64)
    return stored, decoder.Decoder(config, weights, CONTEXT), random


def greedy(model, ids):
    """GENERATED tokens and by how much each leads."""
    ids, margins = list(ids), []
    for _ in range(GENERATED):
        last = model.logits(ids)[-1]
        second, first = np.sort(last)[-2:]
        margins.append(float(first - second))
        ids.append(int(np.argmax(last)))
    return ids[-GENERATED:], margins


def prompts(model, random):
    """None if a token leads by too little."""
    out = []
    for length in LENGTHS:
        ids = [int(i) for i in random.integers(0, model.c["vocab_size"], length)]
        tokens, margins = greedy(model, ids)
        if min(margins) < MARGIN:
            return None
        out.append({"len": length, "input_ids": ids, "greedy": tokens, "greedy_margins": [round(m, 5) for m in margins]})
    return out


def new_style(config, family):
    """The same as newer tools write it: dtype, rope_parameters, layer_types."""
    new = dict(config, dtype=config["torch_dtype"])
    rope = dict(new.pop("rope_scaling", None) or {"rope_type": "default"}, rope_theta=new.pop("rope_theta"))
    rope["rope_type"] = rope.pop("type", rope.get("rope_type"))
    for key in ("partial_rotary_factor", "original_max_position_embeddings"):
        if key in new:
            rope[key] = new[key] if key == "original_max_position_embeddings" else new.pop(key)
    if family == "gemma3_text":
        rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": new.pop("rope_local_base_freq")}}
    if family.startswith("gemma"):
        pattern = new.pop("sliding_window_pattern", 2)
        new["layer_types"] = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(new["num_hidden_layers"])]
    del new["torch_dtype"]
    return dict(new, rope_parameters=rope)


def expected(model, all_prompts):
    out = {}
    for i, prompt in enumerate(all_prompts):
        name = f"prompt_{i}."
        logits = model.logits(prompt["input_ids"]).astype(np.float32)
        out[name + "input_ids"] = "I64", np.array(prompt["input_ids"], np.int64)
        out[name + "greedy"] = "I64", np.array(prompt["greedy"], np.int64)
        if i < 3:
            out[name + "logits"] = "F32", logits
        out[name + "logits_last"] = "F32", logits[-1]
    return out


def make(family):
    config = {**COMMON, "model_type": family, **CONFIGS[family]}
    for seed in range(1, 1000):
        stored, model, random = build(config, family, seed)
        found = prompts(model, random)
        if found:
            break
    folder = GOLDEN / family
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "config.v5.json").write_text(json.dumps(new_style(config, family), indent=1) + "\n")
    tensors.write(folder / "model.safetensors", stored, {"format": "pt"})
    tensors.write(folder / "expected.safetensors", expected(model, found))
    (folder / "expected.json").write_text(json.dumps({"name": family, "seed": seed, "prompts": found}) + "\n")
    spread = model.logits(found[2]["input_ids"])
    print(f"{family}: seed {seed}, logits {spread.min():.1f}..{spread.max():.1f}, distinct greedy {len(set(sum((p['greedy'] for p in found), [])))}")


if __name__ == "__main__":
    for name in sys.argv[1:] or CONFIGS:
        make(name)
