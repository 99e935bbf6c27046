"""Short stories from a grammar: story(rng, hero, place) has a beginning, a trouble, a helper and a good end.

Which variant a sentence takes is drawn with falling weights from an order that depends on the hero, so that the likeliest story about
each hero is one story and not a tie between many: a greedy answer then does not hang on the last bit of a logit.
"""
import zlib

ANIMALS = """fox cat dog bear mouse rabbit owl hedgehog frog duck bird squirrel horse cow sheep goat pig hen goose swan wolf lion tiger elephant monkey giraffe zebra
    turtle snail bee ant spider butterfly beetle fish whale dolphin seal penguin deer donkey camel crow sparrow eagle badger mole otter bat kitten puppy lamb""".split()
PEOPLE = """girl boy king queen princess prince farmer baker sailor gardener teacher witch wizard knight giant pirate fisherman shepherd doctor painter child woman man
    grandmother dwarf fairy""".split()
OBJECTS = """robot computer dragon train boat car lamp clock star cloud tree snowman teapot kite ghost unicorn monster machine rocket tractor moon river mountain tower
    broom shoe hat key drum piano toy ball balloon bicycle windmill lighthouse server cable printer""".split()
HEROES = ANIMALS + PEOPLE + OBJECTS
HELD_OUT_HEROES = {"badger", "tiger", "wizard", "teacher", "lamp", "rocket", "otter", "baker"}  # never a hero in training

HE_NAMES = "Tom Ben Max Leo Felix Jack Otto Sam Hugo Paul".split()
SHE_NAMES = "Mia Lily Anna Emma Rosa Ida Clara Nora Zoe Ella".split()
PLACES = ["in a small house by the forest", "in a deep green forest", "on a hill above the sea", "under an old bridge", "in a quiet village", "near a blue lake", "at the edge of a big city",
          "in a garden behind a wall", "on a little island", "high up in the mountains"]
ASKED_PLACES = ["in the forest", "by the sea", "in a big city", "on a farm", "in the desert", "on the moon", "in a castle", "at school", "in the snow", "on a ship", "in space", "in a garden"]
TRAITS = ["small", "brave", "kind", "curious", "quiet", "cheerful", "shy", "clever"]
LOVED = [("sing songs", "sang"), ("look at the stars", "watched the stars"), ("collect shiny stones", "found a new stone"), ("swim", "swam a little farther"), ("bake bread", "baked a loaf"),
         ("read books", "read one page more"), ("climb hills", "climbed a new hill"), ("plant flowers", "planted a flower")]
THINGS = ["red ball", "golden key", "little drum", "blue kite", "silver bell", "warm hat", "wooden boat", "old map"]
LESSONS = ["that it is good to ask for help", "that friends are better than treasures", "that small steps lead far", "that being kind makes everybody stronger", "that two can do what one cannot"]
ENDS = ["And they were happy ever after.", "From that day on they were best friends.", "And when it got dark, they went home together.", "They laughed until the moon came up.",
        "And they never forgot that day."]
WEIGHTS = [60, 18, 9, 5, 3, 2, 2, 1, 1, 1]


class Teller:
    def __init__(self, rng, hero):
        self.rng, self.hero = rng, hero

    def pick(self, slot, options):
        """One of the options; which are likely depends on the hero and the slot."""
        order = sorted(options, key=lambda option: zlib.crc32(f"{self.hero}/{slot}/{option}".encode()))
        return self.rng.choices(order, WEIGHTS[:len(order)])[0]


def with_article(noun):
    return ("an " if noun[0] in "aeiou" and not noun.startswith("uni") else "a ") + noun


def lost(t, he, name, friend, other):
    thing = t.pick("thing", THINGS)
    where = t.pick("where", ["under a bush", "behind a stone", "at the bottom of a pond", "high in a tree", "in the tall grass"])
    return [f"{name} had a {thing} and loved it very much.", f"One day the {thing} was gone. {name} looked everywhere, but could not find it.",
            f"\"Why are you so sad?\" asked {friend}.", f"\"I have lost my {thing},\" said {name}.", f"\"Then let us look together,\" said {other}.",
            f"They looked and looked, and there it was, {where}!"]


def storm(t, he, name, friend, other):
    shelter = t.pick("shelter", ["a dry cave", "an old barn", "a hollow tree", "a little hut"])
    meal = t.pick("meal", ["warm soup", "apples", "bread and honey", "nuts"])
    return [f"One evening a great storm came. The wind blew and the rain fell, and {name} was afraid.", f"{he.capitalize()} ran and ran, until {he} saw a light.",
            f"It was {friend}, who sat in {shelter}.", f"\"Come in,\" said {other}. \"There is room for two.\"", f"They ate {meal} and told stories until the sun came back."]


def heavy(t, he, name, friend, other):
    load = t.pick("load", ["stone", "cart", "box", "bell", "door"])
    return [f"One day a big {load} lay in the way. {name} pushed and pulled, but it was too heavy.", f"Then {friend} came along. \"What are you doing?\"",
            f"\"I want to move this {load},\" said {name}, \"but I am not strong enough.\"", f"\"Nobody is, alone,\" said {other}. \"Let us push together. One, two, three!\"",
            f"And the {load} moved."]


def journey(t, he, name, friend, other):
    goal = t.pick("goal", ["the sea", "the end of the rainbow", "the highest mountain", "the king's castle", "the other side of the forest"])
    present = t.pick("present", ["a feather", "a shell", "a yellow flower", "a lucky coin"])
    return [f"One morning {name} wanted to see {goal}.", f"The way was long, and soon {he} was tired. There {he} met {friend}.", f"\"I do not know the way any more,\" said {name}.",
            f"\"I do,\" said {other}, and they went on side by side.", f"In the evening they saw {goal}, and it was more beautiful than in a dream.", f"{name} took home {present}."]


def secret(t, he, name, friend, other):
    found = t.pick("found", ["a little door", "an old book", "a box with a lock", "a letter without a name"])
    inside = t.pick("inside", ["a garden full of light", "a song that nobody knew", "a map of the stars", "a thousand tiny lamps"])
    return [f"One day {name} found {found}.", f"\"What may be inside?\" {he} asked {friend}.", f"\"There is only one way to know,\" said {other}.",
            f"Together they opened it, and inside was {inside}.", f"{name} was so happy that {he} danced."]


PLOTS = [lost, storm, heavy, journey, secret]


def story(rng, hero, place=None):
    t = Teller(rng, hero)
    is_he = t.pick("sex", ["he", "she"]) == "he"
    he = "he" if is_he else "she"
    name = t.pick("name", HE_NAMES if is_he else SHE_NAMES)
    trait = t.pick("trait", TRAITS)
    love, did = t.pick("love", LOVED)
    friend_kind = t.pick("friend", [animal for animal in ANIMALS[:12] if animal != hero][:8])
    friend = with_article(t.pick("friend trait", ["old", "friendly", "wise", "funny"]) + " " + friend_kind)
    other = "the " + friend_kind
    where = place or t.pick("place", PLACES)
    plot = t.pick("plot", PLOTS_BY_NAME)
    lines = [f"Once upon a time there was {with_article(trait + ' ' + hero)} called {name}, who lived {where}.", f"{name} liked to {love}, and every day {he} {did}."]
    lines += globals()[plot](t, he, name, friend, other)
    lines += [f"So {name} learned {t.pick('lesson', LESSONS)}.", t.pick("end", ENDS)]
    return " ".join(lines)


PLOTS_BY_NAME = [plot.__name__ for plot in PLOTS]

ABOUT = ["tell me a story about X", "tell a story about X", "a story about X", "write a story about X", "a short story about X", "can you tell me a story about X", "write me a short story about X",
         "story about X", "I want a story about X", "please tell me a story about X", "tell me about X in a story", "make up a story about X", "tell me a tale about X",
         "do you know a story about X", "could you write a story about X", "tell me a bedtime story about X", "one about X", "now one about X", "I would like to hear a story about X"]
ANY = ["tell me a story", "tell a story", "a story please", "write a story", "tell me a short story", "can you tell me a story", "I want to hear a story", "story", "write me a story", "a story",
       "tell me another story", "do you know a story", "tell me a tale", "tell me a bedtime story", "please tell me a story", "do you know any stories", "can you write a story", "once upon a time"]
ANY_HERO = "fox"


def asked_story(rng):
    """(question without noise, story)"""
    if rng.random() < 0.15:
        return rng.choice(ANY), story(rng, ANY_HERO)
    hero = rng.choice([hero for hero in HEROES if hero not in HELD_OUT_HEROES])
    place = rng.choice(ASKED_PLACES) if rng.random() < 0.2 else None
    article = rng.choice(["", "the "]) if rng.random() < 0.12 else None
    what = (article + hero if article is not None else with_article(hero)) + (" " + place if place else "")
    return rng.choice(ABOUT).replace("X", what), story(rng, hero, place)
