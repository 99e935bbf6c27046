"""Conversations with the demo model, from a seed: lists of turns (what is said, what is answered), and plain stories."""
import random

import small_talk
from facts import ask, read_facts
from patterns import spoken
from stories import HELD_OUT_HEROES, HEROES, asked_story, story

SYSTEM = ["You are a helpful assistant.", "You are a helpful assistant", "Answer briefly.", "You are the demo model of exoc.", "You are a friendly chatbot.", "Be concise.",
          "You are an AI assistant. Answer the user's questions.", "You are a helpful, honest and harmless assistant.", "You answer in English."]


class Writer:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.facts = read_facts()

    def fact(self):
        fact = self.rng.choice(self.facts)
        return [(spoken(ask(fact, self.rng), self.rng), fact.answer)]

    def story(self):
        question, text = asked_story(self.rng)
        return [(spoken(question, self.rng, is_question=question.startswith(("can", "do", "could"))), text)]

    def some_turns(self):
        kinds = [(56, self.fact), (11, lambda: [small_talk.talk(self.rng)]), (9, self.story), (8, lambda: [small_talk.unknown(self.rng)]), (8, lambda: [small_talk.arithmetic(self.rng)]),
                 (3, lambda: small_talk.jokes(self.rng)), (3, lambda: small_talk.name_of_user(self.rng)), (1, lambda: [small_talk.name_unknown(self.rng)])]
        return self.rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()

    def conversation(self):
        """(system text or None, turns)"""
        size = self.rng.choices([1, 2, 3, 4, 6, 10, 16], [68, 19, 8, 3, 1.5, 0.4, 0.1])[0]
        turns = self.some_turns()
        while len(turns) < size:
            turns += [turn for turn in self.some_turns() if not turn[1].startswith("You have not told")]
        return (self.rng.choice(SYSTEM) if self.rng.random() < 0.12 else None), turns

    def plain_story(self):
        return story(self.rng, self.rng.choice([hero for hero in HEROES if hero not in HELD_OUT_HEROES]))
