#!/usr/bin/env python3
"""Writes the model made by hand: `make.py FOLDER` makes a Hugging Face model folder (llama, one layer, f32, about 3 MB).

Nothing is trained. The weights are a lookup table of text.txt, written by hand in the terms of a transformer, so that
the smallest model one can read says something readable, and every part of the way (tokenizer, rotary attention, KV
cache, gated MLP, split vocabulary) has to be right for it to do so:

  residual stream  [word read now: W | word before it: W | word to come: W - 1 | always one: 1], one dimension per word
  attention        queries and keys are constants whose rotation fits best one position back; values copy the word there
  MLP              one neuron per pair of words of the text; it fires when both match, and writes the word that follows
  lm_head          the word to come; failing that, what most often follows the word read now; failing that, a start

Standard library only; the same bytes on every machine with IEEE doubles.
"""
import array
import collections
import json
import math
import pathlib
import re
import struct
import sys

BOS, EOS = "<s>", "</s>"
HEADS, HEAD_DIM = 4, 32
WORDS = HEADS * HEAD_DIM  # W: dimensions for words; 0 stands for every token that is no word of the text
HIDDEN = 3 * WORDS
BEFORE, NEXT, ONE = WORDS, 2 * WORDS, HIDDEN - 1  # where the parts of the residual stream begin
NEURONS = 256
ROPE_BASE = 10000.0
PIECES = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+")  # as the ByteLevel pre-tokenizer cuts this text


def byte_alphabet():
    """The printable character that stands for each byte, as byte-level BPE has it since GPT-2."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


ALPHABET = byte_alphabet()


def spelled(piece):
    return "".join(ALPHABET[b] for b in piece.encode())


def train_bpe(pieces):
    """Merges the most frequent pair (of equals: the first in order) until every piece is one token."""
    words = {tuple(word): count for word, count in collections.Counter(map(spelled, pieces)).items()}
    merges = []
    while True:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {merged(word, best): count for word, count in words.items()}


def merged(word, pair):
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


class Tensor:
    def __init__(self, *shape):
        self.shape, self.data = shape, array.array("f", bytes(4 * math.prod(shape)))

    def __setitem__(self, at, value):
        row, column = at
        self.data[row * self.shape[1] + column] = value

    def fill(self, value):
        self.data = array.array("f", [value]) * len(self.data)
        return self

    def bytes(self):
        data = array.array("f", self.data)
        if sys.byteorder == "big":
            data.byteswap()
        return data.tobytes()


def embedding(word_of):
    table = Tensor(len(word_of), HIDDEN)
    for token, word in enumerate(word_of):
        table[token, word] = 1
        table[token, ONE] = 1
    return table


def attention(prefix):
    """Score at distance d: 13² · sum over frequencies of cos((d - 1) · frequency): highest one position back."""
    q, k, v, o = (Tensor(WORDS, HIDDEN), Tensor(WORDS, HIDDEN), Tensor(WORDS, HIDDEN), Tensor(HIDDEN, WORDS))
    half = HEAD_DIM // 2
    for head in range(HEADS):
        for i in range(half):
            frequency = ROPE_BASE ** (-2 * i / HEAD_DIM)
            q[head * HEAD_DIM + i, ONE] = 13
            k[head * HEAD_DIM + i, ONE] = 13 * math.cos(frequency)
            k[head * HEAD_DIM + half + i, ONE] = 13 * math.sin(frequency)
    for word in range(WORDS):
        v[word, word] = 1
        o[BEFORE + word, word] = 1
    return {f"{prefix}.{name}_proj.weight": tensor for name, tensor in zip("qkvo", (q, k, v, o))}


def mlp(prefix, follows):
    """gate = 20 · (now + before - 1.5): silu is 10 when both match, and nearly nothing otherwise."""
    gate, up, down = Tensor(NEURONS, HIDDEN), Tensor(NEURONS, HIDDEN), Tensor(HIDDEN, NEURONS)
    for neuron, ((before, now), word) in enumerate(follows.items()):
        gate[neuron, now] = 20
        gate[neuron, BEFORE + before] = 20
        gate[neuron, ONE] = -30
        up[neuron, ONE] = 1
        down[NEXT + word, neuron] = 0.1
    return {f"{prefix}.gate_proj.weight": gate, f"{prefix}.up_proj.weight": up, f"{prefix}.down_proj.weight": down}


def head(word_of, usual, start):
    token_of = {word: token for token, word in enumerate(word_of) if word}
    table = Tensor(len(word_of), HIDDEN)
    for word, token in token_of.items():
        table[token, NEXT + word] = 16
    for now, word in usual.items():
        table[token_of[word], now] = 6
    table[token_of[start], 0] = 6
    return table


def learn(texts, name_of):
    """What follows each pair of words, and what usually follows each word. A pair must not have two continuations."""
    follows, after = {}, collections.defaultdict(collections.Counter)
    for text in texts:
        for i in range(1, len(text)):
            after[text[i - 1]][text[i]] += 1
            if i > 1 and follows.setdefault((text[i - 2], text[i - 1]), text[i]) != text[i] and text[i - 2] != text[0]:
                raise SystemExit(f"make.py: text.txt goes on in two ways after {name_of[text[i - 2]]!r} {name_of[text[i - 1]]!r}: reword it")
    usual = {now: max(counts, key=lambda w: (counts[w], -w)) for now, counts in after.items()}
    return follows, usual


def tokenizer(tokens, merges):
    special = [{"id": tokens[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for t in (BOS, EOS)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    template = [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": byte_level, "decoder": byte_level,
            "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template,
                               "special_tokens": {BOS: {"id": BOS, "ids": [tokens[BOS]], "tokens": [BOS]}}},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": tokens,
                      "merges": [" ".join(pair) for pair in merges]}}


def config(tokens):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": NEURONS, "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
            "head_dim": HEAD_DIM, "vocab_size": len(tokens), "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
            "rope_theta": ROPE_BASE, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
            "torch_dtype": "float32", "bos_token_id": tokens[BOS], "eos_token_id": tokens[EOS]}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + 4 * len(tensor.data)
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.bytes() for t in tensors.values()))


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit("usage: make.py FOLDER")
    lines = (pathlib.Path(__file__).parent / "text.txt").read_text("utf-8").splitlines()
    texts = [PIECES.findall(" " + line) for line in lines]
    merges = train_bpe([piece for text in texts for piece in text])

    tokens = {ALPHABET[b]: b for b in range(256)}
    for pair in merges:
        tokens.setdefault("".join(pair), len(tokens))
    for special in (BOS, EOS):
        tokens[special] = len(tokens)

    words = {}
    for word in [BOS, EOS] + [spelled(piece) for text in texts for piece in text]:
        words.setdefault(word, len(words) + 1)
    if len(words) >= WORDS - 1:
        raise SystemExit(f"make.py: text.txt has {len(words)} words, there is room for {WORDS - 2}")
    word_of = [words.get(token, 0) for token in tokens]
    coded = [[words[BOS], *(words[spelled(piece)] for piece in text), words[EOS]] for text in texts]
    follows, usual = learn(coded, {number: word for word, number in words.items()})
    if len(follows) > NEURONS:
        raise SystemExit(f"make.py: text.txt has {len(follows)} pairs of words, there is room for {NEURONS}")

    # A norm divides by the root mean square; its weight multiplies the zeros and ones of the stream back to themselves.
    norm = lambda ones: Tensor(HIDDEN).fill(math.sqrt(ones / HIDDEN))
    layer = "model.layers.0"
    tensors = {"model.embed_tokens.weight": embedding(word_of),
               f"{layer}.input_layernorm.weight": norm(2), **attention(f"{layer}.self_attn"),
               f"{layer}.post_attention_layernorm.weight": norm(3), **mlp(f"{layer}.mlp", follows),
               "model.norm.weight": norm(4), "lm_head.weight": head(word_of, usual, coded[0][1])}

    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", tensors)
    for name, content in {
            "config.json": config(tokens), "tokenizer.json": tokenizer(tokens, merges),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS,
                                      "chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}"}}.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
