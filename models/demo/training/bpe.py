"""Byte-level BPE: trains merges, encodes, and writes tokenizer.json. Standard library only."""
import collections
import heapq
import re

# In tokenizer.json with \p{L} and \p{N}; the same for this text. A digit is a word of its own, so that sums have one form.
PATTERN = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PIECES = re.compile(PATTERN.replace(r"[^\s\p{L}\p{N}]", r"(?:[^\s\w]|_)").replace(r"\p{L}", r"[^\W\d_]").replace(r"\p{N}", r"\d"))
END, SYSTEM, USER, ASSISTANT = SPECIALS = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def byte_alphabet():
    """The printable character that stands for each byte, as byte-level BPE has it since GPT-2."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


ALPHABET = byte_alphabet()


def spelled(piece):
    return tuple(ALPHABET[b] for b in piece.encode())


def merged(word, pair):
    out, i = [], 0
    while i < len(word):
        is_pair = i + 1 < len(word) and (word[i], word[i + 1]) == pair
        out.append(word[i] + word[i + 1] if is_pair else word[i])
        i += 2 if is_pair else 1
    return tuple(out)


def train(texts, num_merges):
    """The most frequent pair first; of equals the first in order."""
    counts = collections.Counter(piece for text in texts for piece in PIECES.findall(text))
    words = [(spelled(piece), count) for piece, count in sorted(counts.items())]
    pairs, places = collections.Counter(), collections.defaultdict(set)
    for index, (word, count) in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += count
            places[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < num_merges and heap:
        negative, best = heapq.heappop(heap)
        if pairs[best] != -negative or -negative < 2:
            continue  # an outdated count
        merges.append(best)
        changed = set()
        for index in places.pop(best):
            word, count = words[index]
            new = merged(word, best)
            for pair in zip(word, word[1:]):
                pairs[pair] -= count
                changed.add(pair)
            for pair in zip(new, new[1:]):
                pairs[pair] += count
                places[pair].add(index)
                changed.add(pair)
            words[index] = (new, count)
        for pair in changed:
            if pairs[pair] > 0:
                heapq.heappush(heap, (-pairs[pair], pair))
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(pair) for pair in merges]
        self.rank = {pair: rank for rank, pair in enumerate(self.merges)}
        self.vocabulary = {ALPHABET[b]: b for b in range(256)}
        for pair in self.merges:
            self.vocabulary.setdefault("".join(pair), len(self.vocabulary))
        self.special = {text: len(self.vocabulary) + i for i, text in enumerate(SPECIALS)}
        self.size = len(self.vocabulary) + len(SPECIALS)
        self.known = {}
        self.byte_of = {symbol: byte for byte, symbol in ALPHABET.items()}
        self.text_of = {id: text for text, id in self.vocabulary.items()}

    def encode_piece(self, piece):
        word = spelled(piece)
        while len(word) > 1:
            best = min(zip(word, word[1:]), key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            word = merged(word, best)
        return [self.vocabulary[symbol] for symbol in word]

    def encode(self, text):
        ids = []
        for piece in PIECES.findall(text):
            if piece not in self.known:
                self.known[piece] = self.encode_piece(piece)
            ids += self.known[piece]
        return ids

    def decode(self, ids):
        return bytes(self.byte_of[symbol] for id in ids if id in self.text_of for symbol in self.text_of[id]).decode(errors="replace")

    def to_json(self):
        added = [{"id": id, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                 for text, id in self.special.items()]
        split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
        bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_only]}, "post_processor": None, "decoder": bytes_only,
                "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
                          "byte_fallback": False, "ignore_merges": False, "vocab": self.vocabulary, "merges": [" ".join(pair) for pair in self.merges]}}
