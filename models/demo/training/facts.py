"""facts.txt as data: what can be asked, what is never trained on, and the one answer."""
import collections
import pathlib

from patterns import WRAPPERS, expand, is_held_out

# asked: the forms that are trained on, in groups (one group per line of the file, so that a long list of forms does not drown the others)
Fact = collections.namedtuple("Fact", "name asked held_wrapped held_by_hand answer")


def read_block(lines):
    name = lines[0].strip("[]")
    groups, held_wrapped, held_by_hand, answer = [], [], [], None
    for line in lines[1:]:
        if line.startswith("= "):
            answer = line[2:]
            continue
        kind, pattern = line.split(": ", 1)
        if kind == "held":
            held_by_hand += expand(pattern)
            continue
        forms = [wrapper.replace("X", phrase) for phrase in expand(pattern) for wrapper in WRAPPERS[kind]]
        held = [form for form in forms if len(forms) > 6 and is_held_out(form)]
        groups.append([form for form in forms if form not in held])
        held_wrapped += held
    return Fact(name, groups, held_wrapped, held_by_hand, answer)


def read_facts(path=pathlib.Path(__file__).parent / "facts.txt"):
    text = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    facts = [read_block(block.strip().splitlines()) for block in text.split("\n\n") if block.strip()]
    answer_of = {}
    for fact in facts:
        for form in [form for group in fact.asked for form in group] + fact.held_wrapped + fact.held_by_hand:
            if answer_of.setdefault(form, fact.name) != fact.name:
                raise SystemExit(f"facts.txt: {form!r} is asked in [{answer_of[form]}] and in [{fact.name}]")
    return facts


def ask(fact, rng):
    return rng.choice(rng.choice(fact.asked))
