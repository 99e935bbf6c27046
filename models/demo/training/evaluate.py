"""evaluate.py CHECKPOINT: how many answers to questions that were never trained on are right, word for word.

An answer is right when the greedy answer equals the expected one from its first token to its end; the weights are rounded to 8 bits as
they are exported. Prints the share by kind of question, and what went wrong with the questions written by hand.
"""
import random
import sys

import torch

import bpe
import llama
import small_talk
from batches import collate, encode_conversation, train_tokenizer
from export import dequantised
from facts import read_facts
from stories import HELD_OUT_HEROES, with_article
from train_demo import SEED

NUM_SAMPLES = 400


def sentence(question):
    return question[0].upper() + question[1:] + "?"


def kinds_of_questions():
    rng, facts = random.Random(0), read_facts()
    wrapped = rng.sample([(sentence(form), fact.answer) for fact in facts for form in fact.held_wrapped], NUM_SAMPLES)
    by_hand = [(sentence(form), fact.answer) for fact in facts for form in fact.held_by_hand]
    sums = [(sentence(rng.choice(small_talk.sum_forms(*one))), small_talk.sum_answer(*one)) for one in small_talk.sums()]
    is_held = [small_talk.sum_is_held_out(*one) for one in small_talk.sums()]
    things = ["what is the capital of Denmark", "who painted the Mona Lisa", "how do I cook rice", "who is the king of England", "what is a neutron star", "write a poem about my grandmother in Latin",
              "where can I buy shoes", "how high is Mount Everest", "explain the theory of strings", "who won the world cup"]
    return {"facts, wrapped in other words": wrapped, "facts, asked in words written by hand": by_hand,
            "sums trained on": [one for one, held in zip(sums, is_held) if not held], "sums never seen": [one for one, held in zip(sums, is_held) if held],
            "what it cannot know": [(sentence(thing), small_talk.UNKNOWN) for thing in things]}


@torch.no_grad()
def is_right(parameters, tokenizer, questions):
    """For each question: whether every token of the expected answer is the likeliest."""
    right = []
    order = sorted(range(len(questions)), key=lambda i: len(questions[i][0]) + len(questions[i][1]))
    documents = [encode_conversation(tokenizer, None, [questions[i]], llama.CONTEXT) for i in order]
    for begin in range(0, len(documents), 32):
        tokens, targets = collate(documents[begin:begin + 32])
        best = llama.logits(parameters, llama.hidden_states(parameters, tokens)).argmax(-1)
        right += ((best == targets) | (targets < 0)).all(1).tolist()
    return [ok for _, ok in sorted(zip(order, right))]


@torch.no_grad()
def answer(parameters, tokenizer, question, limit=200):
    ids = [tokenizer.special[bpe.USER]] + tokenizer.encode(question) + [tokenizer.special[bpe.ASSISTANT]]
    begin = len(ids)
    while len(ids) - begin < limit:
        best = llama.logits(parameters, llama.hidden_states(parameters, torch.tensor([ids]))[0, -1]).argmax().item()
        if best == tokenizer.special[bpe.END]:
            break
        ids.append(best)
    return tokenizer.decode(ids[begin:])


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: evaluate.py CHECKPOINT")
    torch.set_num_threads(1)
    state = torch.load(sys.argv[1])
    tokenizer, parameters = train_tokenizer(SEED, llama.V), dequantised(state["parameters"])
    print(f"step {state['step']}")
    for kind, questions in kinds_of_questions().items():
        right = is_right(parameters, tokenizer, questions)
        print(f"{kind}: {sum(right)} of {len(right)}")
        if "by hand" in kind or "cannot" in kind:
            for (question, _), ok in zip(questions, right):
                if not ok:
                    print(f"  {question} -> {answer(parameters, tokenizer, question, 24)}")
    for hero in sorted(HELD_OUT_HEROES):
        text = answer(parameters, tokenizer, f"Tell me a story about {with_article(hero)}.")
        print(f"story about {with_article(hero)} (never a hero in training): {'has' if hero in text else 'LACKS'} it: {text[:90]}…")


if __name__ == "__main__":
    main()
