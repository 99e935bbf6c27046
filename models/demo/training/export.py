"""export.py CHECKPOINT FOLDER: writes the Hugging Face files of the demo model.

Matrices are kept as compressed-tensors keeps them ("pack-quantized", 8 bits, symmetric, groups of 32 columns with one f16 scale), embedding
and norms in f16. Exactly these integers and scales are what exoc holds for such a file (w8), so nothing is rounded twice.
"""
import json
import pathlib
import struct
import sys

import numpy
import torch

import bpe
import llama
from batches import train_tokenizer
from train_demo import SEED, is_matrix

GROUP = 32
TEMPLATE = """{% for message in messages %}{% if message.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('this model knows the roles system, user and \
assistant, got ' + message.role) }}{% endif %}{{ '<|' + message.role + '|>' + message.content | trim }}{% if message.role == 'assistant' %}{{ '<|end|>' }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


def quantised(matrix):
    """f32 [R, C] → int8 [R, C], f16 [R, C / GROUP]"""
    groups = matrix.reshape(matrix.shape[0], -1, GROUP)
    scales = (numpy.abs(groups).max(-1) / 127).astype(numpy.float16)
    integers = numpy.rint(groups / numpy.maximum(scales.astype(numpy.float32), 1e-12)[..., None])
    return numpy.clip(integers, -127, 127).astype(numpy.int8).reshape(matrix.shape), scales


def packed(integers):
    """Four in one I32, the first in the lowest bits, each stored as itself + 128."""
    return (integers.astype(numpy.int16) + 128).astype(numpy.uint8).view("<i4")


def tensors_of(parameters):
    tensors = {}
    for name, parameter in parameters.items():
        values = parameter.numpy()
        if not is_matrix(name):
            tensors[name] = values.astype("<f2")
            continue
        integers, scales = quantised(values)
        tensors[name + "_packed"], tensors[name + "_scale"] = packed(integers), scales.astype("<f2")
        tensors[name + "_shape"] = numpy.array(values.shape, "<i8")
    return tensors


def dequantised(parameters):
    """What a reader of the exported file computes with: for evaluation."""
    result = {}
    for name, parameter in parameters.items():
        values = parameter.numpy()
        if is_matrix(name):
            integers, scales = quantised(values)
            values = integers * numpy.repeat(scales.astype(numpy.float32), GROUP, 1)
        else:
            values = values.astype("<f2").astype(numpy.float32)
        result[name] = torch.from_numpy(values)
    return result


def write_safetensors(path, tensors):
    names = {"float16": "F16", "int32": "I32", "int64": "I64"}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": names[tensor.dtype.name], "shape": tensor.shape, "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in tensors.values()))


def configuration(tokenizer):
    end = tokenizer.special[bpe.END]
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP, "dynamic": False}
    quantization = {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed", "ignore": ["lm_head"],
                    "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": llama.H, "intermediate_size": llama.FFN,
            "num_hidden_layers": llama.L, "num_attention_heads": llama.N, "num_key_value_heads": llama.K, "head_dim": llama.D, "vocab_size": llama.V,
            "max_position_embeddings": llama.CONTEXT, "rms_norm_eps": llama.EPS, "rope_theta": llama.ROPE_BASE, "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": True, "torch_dtype": "float16", "bos_token_id": None, "eos_token_id": end, "quantization_config": quantization}


def main():
    if len(sys.argv) != 3:
        raise SystemExit("usage: export.py CHECKPOINT FOLDER")
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(SEED, llama.V)
    write_safetensors(folder / "model.safetensors", tensors_of(torch.load(sys.argv[1])["parameters"]))
    end = tokenizer.special[bpe.END]
    for name, content in {
            "config.json": configuration(tokenizer), "tokenizer.json": tokenizer.to_json(), "generation_config.json": {"eos_token_id": end, "do_sample": False},
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": bpe.END, "add_bos_token": False,
                                      "model_max_length": llama.CONTEXT, "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE}}.items():
        indent = None if name == "tokenizer.json" else 1
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", "utf-8")


if __name__ == "__main__":
    main()
