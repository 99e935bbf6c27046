"""Question patterns: "(a|b|) c" stands for "a c", "b c" and "c"; the wrappers around them; and how people mistype them."""
import re
import zlib

WRAPPERS = {
    "what": """what is X|what's X|whats X|what is X exactly|explain X|explain X to me|can you explain X|could you explain X|please explain X|tell me about X
        |tell me what X is|what does X mean|define X|X|what do you know about X|I do not understand X|describe X|do you know what X is|what is meant by X
        |what is the meaning of X|give me a short explanation of X|can you tell me what X is|I want to know what X is|information about X|what was X again
        |what exactly is X|so what is X|and what is X|could you tell me about X|I have never heard of X""",
    "whats": """what are X|explain X|what are X exactly|explain X to me|can you explain X|tell me about X|tell me what X are|what does X mean|X|describe X
        |what do you know about X|I do not understand X|do you know what X are|what is meant by X|could you explain what X are|please explain X|and what are X""",
    "how": """how do I X|how can I X|how to X|how does one X|how would I X|what do I have to do to X|what do I need to do to X|what must I do to X|I want to X
        |I would like to X|I'd like to X|show me how to X|what is the command to X|can you tell me how to X|help me X|tell me how to X|explain how to X|how do you X
        |is there a way to X|I need to X|how should I X|what is the way to X|how could I X|can you show me how to X|please tell me how to X|I have to X
        |what is the best way to X|how do we X|what do I type to X|X|I do not know how to X|could you explain how to X|how is it possible to X""",
    "can": """can exoc X|can it X|is it possible to X|can I X|could I X|does it let me X|will I be able to X|am I able to X|may I X|can you X|can we X
        |is exoc able to X|I want to know if I can X|do you know if I can X|would it be possible to X""",
    "ask": "X",
}
WRAPPERS = {kind: [" ".join(one.split()) for one in text.split("|")] for kind, text in WRAPPERS.items()}

OPENERS = ["hi, ", "hello, ", "hey, ", "please ", "so ", "ok, ", "one question: ", "sorry, ", "hm, ", "now ", "and ", "hi! ", "tell me: ", "another question: "]
CLOSERS = [" please", ", please", " thanks", " then", " exactly", " here", " now", " with exoc", " in exoc", " actually", "? thanks", " again"]
SYNONYMS = {"machine": "computer", "machines": "computers", "computer": "machine", "computers": "machines", "start": "launch", "show": "display",
            "see": "look at", "supported": "possible", "run": "use", "make": "create", "big": "large", "answer": "reply", "stop": "end"}
DROPPABLE = {"the", "a", "an", "do", "does", "is", "I", "to", "me", "of", "it", "are"}


def expand(pattern):
    """All texts that a pattern stands for."""
    found = re.search(r"\(([^()]*)\)", pattern)
    if not found:
        return [" ".join(pattern.split())]
    return [text for part in found[1].split("|") for text in expand(pattern[:found.start()] + part + pattern[found.end():])]


def is_held_out(question):
    """One wrapped question in twelve is kept from training, always the same ones on every machine."""
    return zlib.crc32(question.encode()) % 12 == 0


def mistype(word, rng):
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.random()
    if kind < 0.35:
        return word[:at] + word[at + 1:]
    if kind < 0.7:
        return word[:at] + word[at + 1] + word[at] + word[at + 2:]
    return word[:at] + word[at] + word[at:]


def varied_words(question, rng):
    words = []
    for word in question.split(" "):
        if word in DROPPABLE and rng.random() < 0.04:
            continue
        if word in SYNONYMS and rng.random() < 0.06:
            word = SYNONYMS[word]
        if rng.random() < 0.015:
            word = mistype(word, rng)
        words.append(word)
    return " ".join(words) or question


def spoken(question, rng, is_question=True):
    """The question as somebody might type it: other case, no question mark, a polite word, a slip of the finger."""
    text = varied_words(question, rng)
    if rng.random() < 0.12:
        text = rng.choice(OPENERS) + text
    if rng.random() < 0.08:
        text += rng.choice(CLOSERS)
    case = rng.random()
    if case < 0.5:
        text = text[0].upper() + text[1:]
    elif case < 0.62:
        text = text.lower()
    end = rng.random()
    if is_question:
        return text + ("?" if end < 0.6 else "" if end < 0.95 else "??")
    return text + ("." if end < 0.3 else "!" if end < 0.4 else "")
