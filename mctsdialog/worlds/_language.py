"""How states and strategies sound: many wordings for each, composed, with words of other states strewn in.

No single word tells a state: every clause has several wordings, and an aside may speak of a feeling that is past or
another's. :func:`strategy_of` reads a strategy back from a supporter's words.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from typing import Final

from mctsdialog.worlds import _state as truth
from mctsdialog.worlds._state import SeekerState, pick

TOPICS: Final = {
    "work": ("my job", "the office", "my boss", "the team", "the project", "my position"),
    "partner": ("my partner", "us two", "the break-up", "our flat", "the relationship", "my marriage"),
    "exam": ("the exam", "my degree", "the course", "the resit", "my thesis", "the finals"),
    "illness": ("the diagnosis", "my treatment", "the illness", "my health", "the clinic", "the results"),
}

EVENTS: Final = {
    "work": (
        "They gave the promotion to somebody else again.",
        "I was told on Friday that my post will be cut.",
        "Every meeting ends with my name and a deadline.",
        "I made one mistake and it is all anybody mentions.",
        "Nobody has answered my messages since the new manager came.",
    ),
    "partner": (
        "He packed two bags on Sunday and left the keys.",
        "We have not had a real conversation since spring.",
        "She says she needs distance and will not say how long.",
        "Half of the shelves are empty now.",
        "Every talk we begin turns into the same quarrel.",
    ),
    "exam": (
        "The marks came out and mine was below the line.",
        "There is one attempt left, in March.",
        "I read the same page four times and nothing stays.",
        "Everybody in my year has handed in but me.",
        "My tutor asked whether this subject is for me.",
    ),
    "illness": (
        "The doctor used a word that I had to look up.",
        "I have had three scans and no clear answer.",
        "The tablets make me sleep through half of the day.",
        "They want me back at the ward on Thursday.",
        "My sister drives me to every appointment now.",
    ),
}

FEELINGS: Final = (
    (
        "It does not weigh on me the way it did.",
        "I slept through last night, for once.",
        "My hands are steady while I write this.",
        "I can think about it over breakfast without losing my appetite.",
        "There is room in my head again.",
        "It is only one part of the week by now.",
    ),
    (
        "There is a knot in my stomach that comes and goes.",
        "I keep checking the time for no reason.",
        "I am a little on edge, not more.",
        "Something nags at me in the quiet hours.",
        "I catch myself sighing a good deal.",
        "It is on my mind more than I would like.",
    ),
    (
        "I snapped at a friend and cried in the car afterwards.",
        "It hurts, and it has hurt all week.",
        "I am angry and sad in turns, sometimes within the hour.",
        "My chest is tight from morning till evening.",
        "I feel let down, and I cannot put it aside.",
        "I have to fight the tears when somebody asks.",
    ),
    (
        "I cannot breathe properly and I do not know how to get through today.",
        "Everything is crashing down at once.",
        "I have not eaten since yesterday and I am shaking.",
        "I sat on the kitchen floor for two hours.",
        "I cannot take one more hour of this.",
        "It is all too much, I am drowning in it.",
    ),
)

READINESS: Final = (
    (
        "I am not sure why I am even telling you.",
        "You will probably think I brought it on myself.",
        "I would rather not go into all of it.",
        "People usually tell me to pull myself together.",
        "Please do not lecture me.",
        "I have never talked about this with a stranger.",
    ),
    (
        "I keep asking myself what it says about me.",
        "Perhaps I see it in too dark a light.",
        "I wonder how others would look at it.",
        "Part of me thinks there is another side to it.",
        "I keep telling myself that I always fail at such things.",
        "I would like to understand how it came to this.",
    ),
    (
        "I want to do something about it, only what?",
        "So where would one begin?",
        "I am willing to try a thing or two this week.",
        "I have a free afternoon and want to use it well.",
        "What would be the next sensible step?",
        "I have made up my mind that it must change.",
    ),
    (
        "I tried it, and it went better than I feared.",
        "I know what I will do now.",
        "I feel that I can take it from here.",
        "It is good to have said all of this.",
        "I wrote to them this morning, and it is done.",
        "I can see the end of it.",
    ),
)

ASIDES: Final = (
    "My mother was in tears about something similar, years ago.",
    "A friend of mine was in a panic over less.",
    "Last month I was calm about it, or thought I was.",
    "My neighbour always has a plan for everything.",
    "Somebody at the gym said I should just reframe it, whatever that is.",
    "I used to laugh about such things.",
    "The weather does not help either.",
    "I read an article about it and gave up halfway.",
)

REPLIES: Final = {
    truth.VALIDATE: (
        "Anybody in your place would feel like that about {topic}; what you feel makes sense.",
        "It is all right to feel this way about {topic}. There is nothing wrong with you for it.",
        "Of course that hits you hard. A feeling like this over {topic} has every reason to be there.",
        "You are allowed to feel exactly this, for as long as it takes, with {topic} as it is.",
    ),
    truth.AFFIRM: (
        "You have kept going with {topic} through all of that, and it shows how strong you are.",
        "I am impressed by how openly you speak about {topic}. That takes courage.",
        "You have managed hard things before; I trust that you are able to manage {topic}.",
        "Look how much you have already done about {topic}. Well done, truly.",
    ),
    truth.PLAN: (
        "Shall we put together a small plan for {topic}: one thing for tomorrow, one for the week?",
        "Let us work out the first step with {topic} together. What could be done by Friday?",
        "We could list what is in your hands about {topic}, and choose together where to start.",
        "What if we set a goal for {topic} and split it into steps that you can tick off?",
    ),
    truth.EMPATHISE: (
        "I can hear how much {topic} pains you; I am with you in this.",
        "That sounds so lonely, carrying {topic} around day after day. I feel for you.",
        "I am sorry. Reading this, I sense how heavy {topic} has become for you.",
        "It must be exhausting, what {topic} does to you. I am here, listening.",
    ),
    truth.ACCEPT: (
        "Whatever you did or did not do about {topic}, you need not defend it here.",
        "You can say it in any words you like; nobody here holds {topic} against you.",
        "There is no right or wrong way to talk about {topic}, and no blame from me.",
        "I will not tell you how you ought to be about {topic}. Say as much as you wish.",
    ),
    truth.PERSPECTIVE: (
        "Seen from outside, {topic} might look different: what would a friend say of it?",
        "Another way to view {topic} is to ask what it will mean in five years.",
        "Could the others involved in {topic} have had a reason that is not about you?",
        "Some people in the same spot came to see {topic} as a turn in the road.",
    ),
    truth.REFRAME: (
        "You say that you always fail; is there a time with {topic} when that was not so?",
        "What if {topic} says less about your worth and more about a hard month?",
        "Let us turn that thought round: one setback with {topic} is not the whole of you.",
        "Instead of 'I ruined it', could it be 'I have not found my way with {topic} yet'?",
    ),
    truth.INFORM: (
        "It may help to know that with {topic} there is a service that advises free of charge.",
        "Studies show that twenty minutes of walking a day ease what {topic} does to sleep.",
        "There are rules about {topic}: you have the right to ask for it in writing.",
        "A leaflet on {topic} names three ways of coping that work for most people.",
    ),
}
"""Wordings by strategy."""


def utterance(state: SeekerState, *key: object) -> str:
    """What a seeker in a state says; the key decides the wording."""
    parts = [
        pick(EVENTS[state.problem], "event", *key),
        pick(FEELINGS[state.emotion], "feeling", *key),
        pick(READINESS[state.stage], "readiness", *key),
    ]
    if truth.draw("aside", *key) < 0.5:
        parts.append(pick(ASIDES, "which aside", *key))
    order = sorted(range(len(parts)), key=lambda place: truth.draw("order", place, *key))
    return " ".join(parts[place] for place in order)


def reply(strategy: str, problem: str, *key: object) -> str:
    """What a supporter says who carries out a strategy."""
    topic = re.sub(r"^(my|our)\b", "your", pick(TOPICS[problem], "topic", *key)).replace("us two", "you two")
    return pick(REPLIES[strategy], "reply", *key).format(topic=topic)


@lru_cache(maxsize=2**16)
def strategy_of(text: str) -> str:
    """The strategy that a supporter's words carry out: exact for :func:`reply`, else the nearest by words in common."""
    words = Counter(_words(text))
    scores = {
        strategy: max(sum(weights.get(word, 0.0) for word in words) for weights in wordings)
        for strategy, wordings in _weights().items()
    }
    return max(scores, key=lambda strategy: scores[strategy])


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


@cache
def _weights() -> dict[str, tuple[dict[str, float], ...]]:
    """For every wording of every strategy: how much each of its words tells, normed to 1 for the whole wording."""
    said = {name: [set(_words(text.replace("{topic}", ""))) for text in texts] for name, texts in REPLIES.items()}
    spread = Counter(word for texts in said.values() for word in set().union(*texts))
    made = {}
    for name, texts in said.items():
        wordings = []
        for text in texts:
            total = sum(1 / spread[word] ** 2 for word in text)
            wordings.append({word: 1 / spread[word] ** 2 / total for word in text})
        made[name] = tuple(wordings)
    return made
