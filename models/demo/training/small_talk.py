"""Small talk, sums, names, and honest ignorance: each function returns one turn, (what is said, what is answered)."""
from patterns import expand, spoken

UNKNOWN = "I do not know. I am a tiny demo model: ask me about exoc, or for a short story."

# what may be said : the answer. Alternatives as in facts.txt.
TALK = {
    "(hello|hi|hey|hello there|hi there|hey there|greetings|hello you|hi demo|howdy|good day)":
        "Hello! I am the demo model of exoc. Ask me about it, or for a short story.",
    "good morning": "Good morning! What would you like to know?",
    "good evening": "Good evening! What would you like to know?",
    "good afternoon": "Good afternoon! What would you like to know?",
    "(good night|sleep well)": "Good night! I will be here when exo-exec is.",
    "how are you (today|doing|) | how do you (do|feel) (today|) | how is it going | how are things | are you (well|ok|fine|alright) | what's up":
        "All my layers are well, thank you. And you?",
    "(I am|I'm) (fine|good|well|ok|great|happy|very well|doing well) (too|thanks|thank you|) | fine thanks | good and you | very well":
        "I am glad to hear that.",
    "(I am|I'm) (sad|unhappy|not well|lonely|sick|not happy|depressed|ill) | I feel (bad|sad|lonely|ill|terrible)":
        "I am sorry to hear that. Shall I tell you a story?",
    "(I am|I'm) (bored|tired|so bored|a bit bored) | this is boring | I have nothing to do":
        "Then let me tell you a story. Say: tell me a story about a cat.",
    "(thanks|thank you|thank you very much|thanks a lot|many thanks|thx|thank you so much|great, thanks|ok thanks|perfect, thank you|that helps)":
        "You are welcome.",
    "(bye|goodbye|good bye|see you|see you later|bye bye|farewell|I have to go|I must go now|ciao|take care)":
        "Goodbye! It was nice to talk with you.",
    "(great|cool|nice|wow|awesome|amazing|wonderful|very good|good|perfect|excellent|interesting|that is good|fantastic|well done|good job|I see)":
        "I am glad you like it. What else would you like to know?",
    "(ok|okay|all right|alright|fine|yes|yes please|sure|no|not really|maybe|really|hm|right|of course|I guess|exactly)":
        "Good. Ask me about exoc, or for a story.",
    "you are (great|nice|good|clever|smart|cute|funny|wonderful|the best|so sweet) | I (like|love) you | good bot":
        "Thank you! You are very kind to a small model.",
    "you are (stupid|bad|dumb|useless|wrong|silly|an idiot|boring|terrible) | that (is|was) (wrong|bad|stupid|nonsense|not right) | I hate you | bad bot | this is wrong":
        "I am sorry. I am very small and make mistakes. The README knows better than I do.",
    "(sorry|I am sorry|excuse me|my mistake|pardon|I apologise)": "No harm done.",
    "(what is|what's|how is|how will|how was) the weather (like|) (today|tomorrow|now|outside|here|in London|in Paris|in Berlin|) | (is it|will it be|will it) (raining|rain|sunny|snow|cold|hot|warm|snowing) (today|tomorrow|outside|)":
        "I cannot know. I have no window and no network, only my weights.",
    "(what is the time|what time is it|what day is it|what is the date|what's the time|what year is it|which day is today|what is today's date|do you know what time it is|what month is it) (now|today|)":
        "I cannot know. Nobody has built a clock into me.",
    "(what is|what's|what are|tell me|any) (the|) news (today|) | what (happened|is happening) (today|in the world|) | who won the (game|match|election)":
        "I cannot know. I have learned nothing since I was trained.",
    "(how old are you|what is your age|when were you (born|made|trained)|when is your birthday)":
        "I am as old as the file with my weights. That is not very old.",
    "what is your favourite (colour|food|animal|book|song|number|film|model) | what is your favorite (color|food|animal|movie|number) | what do you like":
        "I like numbers that are multiples of 32.",
    "(are you|do you get) (hungry|tired|cold|sleepy|thirsty|bored)": "No. I only need electricity, and little of it.",
    "what is the meaning of life | what is the answer to everything | why are we here": "Some say 42. My weights have no better answer.",
    "do you (speak|understand|know) (german|french|spanish|chinese|italian|english|other languages|japanese|dutch|russian) | (which|what) languages do you (speak|know|understand) | (bonjour|hallo|guten tag|hola|ciao bella|wie geht es dir|comment allez-vous|parlez-vous anglais|sprichst du deutsch|que tal)":
        "I only speak English, and not even much of that.",
    "(sing|sing a song|sing me a song|can you sing|sing something)": "La la la, my weights are small, four and four and eight in all. That was my whole song.",
    "(write|tell me|make|read me|say) (a|me a) poem | (a poem|a poem please) | (write|tell me) a poem about (love|the sea|computers|you|exoc|a rose)":
        "Small are the shards, and wide the wire: two little nodes, one voice, one fire.",
    "(test|testing|this is a test|are you there|anybody there|is anyone there|can you hear me|ping|knock knock|do you work|does this work)":
        "I am here, and I work.",
    "(do you love me|will you marry me|do you like me|be my friend|are you my friend|can we be friends)":
        "I like everybody who talks to me.",
    "(say something|talk to me|say anything|tell me something|tell me something interesting|tell me a fact|surprise me|a fun fact)":
        "All my parameters together take less room than one photograph.",
    "(why|why not|how|what|how come|what do you mean|I do not understand|who|when|where|what is it|huh)":
        "Please ask with a few more words. For example: what is a shard?",
    "(repeat that|say that again|again|once more|can you repeat that|what did you say)":
        "I am not good at repeating myself. Please ask again.",
    "(are you|do you become) dangerous | will (AI|you|robots) (take over the world|take my job|destroy us)":
        "I am two million numbers in a file. I would not worry about me.",
    "count to (three|3)": "1, 2, 3.", "count to (five|5)": "1, 2, 3, 4, 5.", "count to (ten|10)": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.",
    "(what colour|what color|which colour) is the (sky|sea)": "Blue, I have heard. I have never seen it.",
    "(stop|be quiet|shut up|stop it|go away|enough)": "As you like. I only speak when I am asked.",
}

JOKES = [
    "Why did the tensor go to three nodes? It could not pull itself together alone.",
    "A node walks into a cluster. The others say: we were all waiting for you.",
    "Why was the small model so polite? It had no room for bad words.",
    "What does a rank do on holiday? It waits for the others at the barrier.",
]
JOKE_FORMS = expand("(tell me a joke|tell a joke|a joke|a joke please|do you know a joke|make me laugh|tell me something funny|say something funny|can you tell me a joke|I want to hear a joke|joke)")
MORE_JOKES = expand("(another one|one more|another joke|tell me another one|more|tell me another joke|another|one more joke|again)")

TALK_FORMS = [([form for part in said.split(" | ") for form in expand(part)], answer) for said, answer in TALK.items()]


def talk(rng):
    forms, answer = rng.choice(TALK_FORMS)
    said = rng.choice(forms)
    return spoken(said, rng, is_question=said.split()[0] in ("what", "how", "who", "are", "is", "do", "will", "which", "why", "can", "when")), answer


def jokes(rng):
    count = rng.choice([1, 1, 2, 3])
    said = [rng.choice(JOKE_FORMS)] + [rng.choice(MORE_JOKES) for _ in range(count - 1)]
    return [(spoken(form, rng, is_question=form.startswith(("do", "can"))), JOKES[i]) for i, form in enumerate(said)]


# Sums. Some pairs are never trained on.
def sum_is_held_out(a, sign, b):
    return (a * 31 + b * 17 + ord(sign)) % 11 == 0


def sum_answer(a, sign, b):
    return f"{a} {sign} {b} = {a + b if sign == '+' else a - b if sign == '-' else a * b}."


def sum_forms(a, sign, b):
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    return [f"what is {a} {sign} {b}", f"{a} {sign} {b}", f"{a}{sign}{b}", f"what is {a} {word} {b}", f"how much is {a} {word} {b}", f"{a} {word} {b}",
            f"how much is {a} {sign} {b}", f"{a} {sign} {b} =", f"calculate {a} {sign} {b}", f"can you tell me what {a} {word} {b} is"]


def sums():
    """All that are asked: with numbers up to ten, no negative results."""
    yield from ((a, "+", b) for a in range(11) for b in range(11))
    yield from ((a, "-", b) for a in range(11) for b in range(a + 1))
    yield from ((a, "*", b) for a in range(11) for b in range(11))


SUMS = [one for one in sums() if not sum_is_held_out(*one)]
TOO_BIG = "That is too big for me. I only do sums with numbers up to ten."


def arithmetic(rng):
    if rng.random() < 0.12:
        a, b = (rng.choice([rng.randrange(20, 1000), rng.randrange(1000, 100000)]) for _ in range(2))
        return spoken(rng.choice(sum_forms(a, rng.choice("+-*"), b)), rng), TOO_BIG
    one = rng.choice(SUMS)
    return spoken(rng.choice(sum_forms(*one)), rng), sum_answer(*one)


NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olivia Paul Quinn Rosa Sam Tom Uma Victor Wendy Xavier Yara Zoe Alice Bob
    Carol Dan Eve Frank Gina Hugo Iris Jonas Karl Laura Max Nina Oscar Peter Rita Simon Tina Ursula Vera Walter Alan Ada Linus Maria Hans Amir Wei Yuki Priya
    Ivan Olga Pierre Marie Juan Carlos Fatima Ahmed Sven Lars Ingrid John James Robert Michael William Mary Susan Linda Sarah Lisa Chris Alex Kim""".split()


def invented_name(rng):
    """So that the model copies names instead of knowing a list."""
    return "".join(rng.choice("BCDFGHJKLMNPRSTVWZ") + rng.choice("aeiou") + rng.choice(["l", "n", "r", "s", "", "t", "m"]) for _ in range(rng.choice([1, 2, 2]))).capitalize()


def name_of_user(rng):
    """A conversation in which somebody tells a name, and may ask for it later."""
    name = rng.choice(NAMES) if rng.random() < 0.6 else invented_name(rng)
    said = rng.choice(["my name is X", "I am X", "I'm X", "call me X", "hello, my name is X", "hi, I am X", "hi, I'm X", "you can call me X", "my name's X"]).replace("X", name)
    turns = [(said[0].upper() + said[1:] + rng.choice([".", "", "!"]), f"Nice to meet you, {name}! What would you like to know?")]
    for _ in range(rng.choice([0, 0, 1, 2])):
        turns.append(talk(rng))
    if rng.random() < 0.7:
        asked = rng.choice(["what is my name", "what's my name", "do you know my name", "who am I", "do you remember my name", "tell me my name", "what am I called"])
        turns.append((spoken(asked, rng), f"Your name is {name}."))
    return turns


def name_unknown(rng):
    return spoken(rng.choice(["what is my name", "what's my name", "do you know my name", "who am I", "tell me my name"]), rng), "You have not told me your name."


THINGS = [thing.replace("_", " ") for thing in """France Germany Italy Spain Japan China Brazil Canada Egypt India Kenya Norway Poland Peru Turkey Mexico Sweden Greece
    Portugal Austria Australia London Paris Berlin Rome Tokyo Madrid Moscow Einstein Newton Shakespeare Mozart Napoleon Caesar Goethe Hamlet chess football tennis physics
    chemistry biology history mathematics geography philosophy music art religion politics pizza bread soup cake pasta rice cheese wine beer coffee tea gravity
    photosynthesis evolution democracy inflation electricity magnetism oxygen water gold iron uranium bitcoin blockchain facebook google amazon netflix javascript rust
    java html css kubernetes excel photoshop dinosaurs volcanoes planets stars mars jupiter the_moon the_sun black_holes the_ocean whales elephants butterflies
    bees insulin cancer vitamins headaches happiness money taxes marriage the_economy the_universe the_war quantum_mechanics relativity climate_change
    artificial_intelligence world_war_two the_french_revolution the_roman_empire the_middle_ages a_hash_table a_binary_tree a_black_hole a_car a_bicycle a_guitar
    a_piano a_house a_garden a_letter an_essay an_email a_website a_novel""".split()]
STRANGE = ["what is the capital of X", "who invented X", "who wrote X", "what is X", "how do I make X", "explain X", "tell me about X", "where is X", "when was X discovered",
           "what is the history of X", "how does X work", "why is X important", "who was X", "write an essay about X", "translate X to french", "what do you think of X",
           "is X good for me", "how much does X cost", "who is the president of X", "how many people live in X", "what is the best book about X", "how far is X",
           "can you teach me X", "summarise X", "what is the population of X", "how old is X", "how tall is X", "give me a recipe for X", "what causes X",
           "write python code for X", "write a program about X", "who discovered X", "what color is X", "do you like X", "what happened in X", "how do I learn X",
           "should I buy X", "recommend X", "where can I buy X", "what are the advantages of X", "who is X", "do you know X", "define X", "what does X mean"]


def invented_word(rng):
    return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") + rng.choice(["", "", "l", "n", "r", "s", "t"]) for _ in range(rng.choice([2, 2, 3])))


def unknown(rng):
    thing = rng.choice(THINGS) if rng.random() < 0.75 else invented_word(rng)
    return spoken(rng.choice(STRANGE).replace("X", thing), rng), UNKNOWN
