"""Conversations as token ids, and batches of them: deterministic from a seed and the number of the step."""
import random

import torch

import bpe
from conversations import Writer

TOKENIZER_CONVERSATIONS = 20000  # the tokenizer is trained on these
PLAIN_SHARE = 0.03               # stories without a conversation around them, for prompts without a template


def train_tokenizer(seed, size):
    writer = Writer(seed)
    texts = [text for _ in range(TOKENIZER_CONVERSATIONS) for turn in writer.conversation()[1] for text in turn]
    return bpe.Tokenizer(bpe.train(texts, size - 256 - len(bpe.SPECIALS)))


def encode_conversation(tokenizer, system, turns, limit):
    """(ids, for each id whether the model should have foreseen it): answers and their ends are. Turns beyond the limit are dropped."""
    special = tokenizer.special
    ids, wanted = [], []

    def add(more, is_answer):
        ids.extend(more)
        wanted.extend([is_answer] * len(more))

    if system:
        add([special[bpe.SYSTEM]] + tokenizer.encode(system), False)
    for said, answer in turns:
        question, reply = tokenizer.encode(said), tokenizer.encode(answer)
        if ids and len(ids) + len(question) + len(reply) + 3 > limit:
            break
        add([special[bpe.USER]] + question + [special[bpe.ASSISTANT]], False)
        add(reply + [special[bpe.END]], True)
    return ids, wanted


def encoded_documents(tokenizer, seed, count, limit):
    writer, documents = Writer(seed), []
    for _ in range(count):
        if writer.rng.random() < PLAIN_SHARE:
            ids = tokenizer.encode(writer.plain_story()) + [tokenizer.special[bpe.END]]
            documents.append((ids, [True] * len(ids)))
        else:
            documents.append(encode_conversation(tokenizer, *writer.conversation(), limit))
    return documents


def collate(documents):
    """tokens and targets [B, T]; a target of -1 counts for nothing."""
    length = max(len(ids) for ids, _ in documents) - 1
    tokens, targets = torch.zeros(len(documents), length, dtype=torch.long), torch.full((len(documents), length), -1, dtype=torch.long)
    for row, (ids, wanted) in enumerate(documents):
        tokens[row, :len(ids) - 1] = torch.tensor(ids[:-1])
        for at in range(1, len(ids)):
            if wanted[at]:
                targets[row, at - 1] = ids[at]
    return tokens, targets


class Batches:
    """Batches of about `budget` tokens of documents of like length; another order in every epoch."""

    def __init__(self, documents, budget, seed):
        self.documents, self.budget, self.seed, self.epoch, self.plan, self.first_step = documents, budget, seed, -1, [], 0

    def plan_epoch(self, epoch):
        rng = random.Random(self.seed * 1000 + epoch)
        order = list(range(len(self.documents)))
        rng.shuffle(order)
        batches = []
        for begin in range(0, len(order), 1024):
            chunk = sorted(order[begin:begin + 1024], key=lambda i: len(self.documents[i][0]))
            current = []
            for i in chunk:
                if current and (len(current) + 1) * len(self.documents[i][0]) > self.budget:
                    batches.append(current)
                    current = []
                current.append(i)
            batches.append(current)
        rng.shuffle(batches)
        return batches

    def __getitem__(self, step):
        if step < self.first_step:
            self.epoch, self.plan, self.first_step = -1, [], 0
        while step >= self.first_step + len(self.plan):
            self.first_step += len(self.plan)
            self.epoch += 1
            self.plan = self.plan_epoch(self.epoch)
        return [self.documents[i] for i in self.plan[step - self.first_step]]
