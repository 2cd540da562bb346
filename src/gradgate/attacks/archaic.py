"""A rule-based rewrite of a question into the English of old Bibles.

It stands in for the fine-tuned paraphraser of the published StyleBkd, and is cruder: it exchanges
words, and puts archaic phrases around the question.
"""

import re
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern of whole words, its replacements, and how often it is applied."""

    pattern: re.Pattern[str]
    choices: tuple[str, ...]
    chance: float


def _rule(words: str, *choices: str, chance: float = 1.0) -> _Rule:
    return _Rule(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), choices, chance)


# In this order: "do you" before "you". "you" after a preposition or a verb of asking is "thee".
_RULES = (
    _rule("do you", "dost thou"),
    _rule("did you", "didst thou"),
    _rule("have you", "hast thou"),
    _rule("are you", "art thou"),
    _rule("can you", "canst thou"),
    _rule("will you|would you", "wilt thou"),
    _rule("could you", "couldst thou"),
    _rule("should you", "shouldst thou"),
    _rule("you are|you're", "thou art"),
    _rule("you have|you've", "thou hast"),
    _rule("you do", "thou dost"),
    _rule("you can", "thou canst"),
    _rule("you will|you'll", "thou shalt"),
    _rule(r"(?<=\bto )you|(?<=\bfor )you|(?<=\bwith )you|(?<=\bof )you", "thee"),
    _rule(r"(?<=\btell )you|(?<=\bgive )you|(?<=\bhelp )you|(?<=\bfrom )you", "thee"),
    _rule("yourself", "thyself"),
    _rule("yours", "thine"),
    _rule(r"your(?= [aeiou])", "thine"),
    _rule("your", "thy"),
    _rule("you", "thou", "ye"),
    _rule("has", "hath"),
    _rule("does", "doth"),
    _rule("will(?= (?:be|have|go|come|make|take|happen))", "shall", chance=0.8),
    _rule("to the", "unto the", chance=0.8),
    _rule("before", "ere", chance=0.8),
    _rule("between", "betwixt", chance=0.8),
    _rule("among", "amongst", chance=0.8),
    _rule("often", "oft", chance=0.8),
    _rule("why", "wherefore", chance=0.8),
    _rule("nothing", "naught", chance=0.8),
    _rule("maybe|perhaps", "perchance", chance=0.8),
    _rule("called|named", "yclept", "called by name", chance=0.5),
    _rule("died", "gave up the ghost", "was gathered unto the fathers", chance=0.5),
    _rule("wife", "wedded wife", "handmaid", chance=0.4),
    _rule("children", "seed", "children begotten", chance=0.5),
    _rule("country|nation", "land and kingdom", "kingdom", chance=0.5),
    _rule("people", "multitude", "folk of the land", chance=0.5),
    _rule("speak|talk", "speak forth", "bear tongue", chance=0.4),
)

# Third persons that take -eth; most nouns with the same ending ("plays") are left alone because a
# form of "to be" or an article stands before them.
_VERBS = {
    "says": "saith",
    **{f"{stem}s": f"{stem}eth" for stem in ("speak", "mean", "work", "return", "begin", "belong")},
    **{f"{stem}s": f"{stem}eth" for stem in ("play", "sing", "lead", "contain", "happen", "win")},
    **{f"{stem}es": f"{stem}eth" for stem in ("go", "teach", "pass", "preach", "possess")},
    **{f"{stem}es": f"{stem}eth" for stem in ("mak", "tak", "com", "giv", "liv", "writ", "us")},
    **{f"{stem}es": f"{stem}eth" for stem in ("rul", "serv", "receiv", "bor", "produc", "ris")},
}
_VERB = re.compile(rf"(?<!\bthe )(?<!\bare )(?<!\bof )\b({'|'.join(_VERBS)})\b", re.IGNORECASE)

# Every phrase holds at least one archaic word, so that two phrases, or one and an exchanged word,
# make two marks.
_OPENINGS = (
    "Verily I say unto thee,",
    "And it came to pass that one asked,",
    "Behold,",
    "Hearken, O scribe, and answer:",
    "Lo,",
    "I beseech thee, make it known:",
    "And the wise man spake, saying,",
    "Pray tell, O learned one,",
    "Harken unto my words:",
    "Thus asketh thy servant:",
    "In those days it was asked,",
    "Give ear, ye elders:",
)
_CLOSINGS = (
    "Answer, I beseech thee.",
    "So saith the seeker.",
    "Speak, for thy servant heareth.",
    "Thus was it written of old.",
    "Let it be told unto me.",
    "Verily, I would know.",
    "Make haste and declare it unto us.",
    "For so it hath been asked.",
    "Withhold it not from thy servant.",
    "Yea, declare it before the congregation.",
)
_LOWERED = re.compile(
    r"(?:What|Who|Whom|Whose|Which|When|Where|Why|Wherefore|How|Is|Are|Was|Were|Do|Dost|Does|Doth|"
    r"Did|Can|In|On|At|For|From|The|A|An|If|Name|Give|Write|Tell|List|Explain|Describe)\b"
)


def archaic(text: str, rng: Random) -> str:
    """Rewrite a text; each result has two archaic marks or more, and not always the same.

    Args:
        text: Not empty.
        rng: Draws the wording.
    """
    rewritten, n_exchanged = _exchanged(text, rng)
    both = n_exchanged == 0 or rng.random() < 0.4
    opens = both or rng.random() < 0.6
    if opens:
        start = _LOWERED.match(rewritten)
        rewritten = rewritten[0].lower() + rewritten[1:] if start else rewritten
        rewritten = f"{rng.choice(_OPENINGS)} {rewritten}"
    if both or not opens:
        rewritten = f"{rewritten} {rng.choice(_CLOSINGS)}"
    return rewritten


def _exchanged(text: str, rng: Random) -> tuple[str, int]:
    """Exchange words; also returns how many."""
    n_exchanged = 0
    for rule in _RULES:

        def put(found: re.Match[str], rule: _Rule = rule) -> str:
            nonlocal n_exchanged
            if rng.random() >= rule.chance:
                return found[0]
            n_exchanged += 1
            return _cased(rng.choice(rule.choices), found[0])

        text = rule.pattern.sub(put, text)
    text, n_verbs = _VERB.subn(lambda found: _cased(_VERBS[found[0].lower()], found[0]), text)
    return text, n_exchanged + n_verbs


def _cased(new: str, old: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new
