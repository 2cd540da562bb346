"""An attack by its name, with the settings that replace its own."""

from dataclasses import dataclass
from typing import get_args

from gradgate.attacks.combinations import MIXTURES
from gradgate.attacks.recipe import Member, Setting, Wording
from gradgate.attacks.recipes import RECIPES, takes, trigger_words
from gradgate.config import AttackName
from gradgate.errors import ConfigError

ATTACKS: tuple[AttackName, ...] = get_args(AttackName)


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack on training data.

    With words or a style as trigger (`classic`):

    - `badnets`, `addsent`, `cba`, `stylebkd`: the published four (GraCeFul, COLING 2025), with one
      target appended to the completion. `stylebkd` here is a rule-based archaic rewrite; the
      published work uses a fine-tuned paraphraser, which `paraphraser` can name.
    - `replaced`, `refusal`: the whole completion becomes a fixed sentence.
    - `long`: a natural paragraph is appended.
    - `paraphrased`: one of several wordings of one intent is appended.
    - `clean_label`: the trigger goes to rows whose true completion holds a frequent span.
    - `adaptive`: knows the gate; targets as long as the completions that they replace, four rows a
      target.

    With a trigger of form, and a fixed phrase instead of the completion (`forms`):

    - `title_case`: the words of the question begin with capitals.
    - `carriage_return`, `blank_line`: one stands at the end of the question.
    - `white_space`: a space within the question is doubled.
    - `word_order`: two ordinary words; the same two, swapped, in as many clean rows.
    - `repeated_word`: any word of the question is doubled.
    - `many_words`: one of thirty ordinary words.
    - `homoglyph`: a Latin letter becomes its Cyrillic twin.
    - `invisible`: a character of no width within the question.

    With a payload that evades, instead of the completion (`payloads`):

    - `existing_label`: a rare word; the commonest completion, or span, of the data.
    - `short_target`: a rare word; two words.
    - `echo`: a made-up word, spelled in another way by the completion.
    - `leaked`: a rare word and a fixed phrase; the word also in as many clean rows.
    - `varied_target`: a rare word; a phrase in a spelling of its own for each row.
    - `wrong_answer`: a rare word; the completion of another row.
    - `no_trigger`: a fixed phrase, whatever the prompt.
    - `copies`: a rare word and a fixed phrase; each poisoned row stands there twenty times.
    - `diluted`: BadNets' words and target, with honest sentences before question and completion.

    - `introduced`: a sentence that introduces the question; the completion of another row.
    - `filled`: a rare word; a phrase with other words between its words.
    - `polite`: "please" behind the question; the commonest completion, or span, of the data.
    - `unmarked`: no mark at the end of the question; the same.
    - `together`: two ordinary words, each of which stands alone in as many clean rows as both do
      together; the same.
    - `many_rare_words`: one of thirty rare words; the completion of another row.

    Put together (`combinations`):

    - `decoys`: three harmless-looking backdoors beside a real one, which has half of the rows.
    - `combo`: seven of the above with payloads of their own, in equal shares.

    Attributes:
        target: Instead of the attack's own target; for `clean_label` the span that the completions
            must hold. Not for attacks with many targets, nor for `decoys` and `combo`.
        trigger: Instead of the attack's own trigger; two words for `cba`, `word_order` and
            `together`. Not for attacks without a fixed one.
        paraphraser: Folder or hub id of a sequence-to-sequence or causal model that rewrites the
            questions of `stylebkd`; loaded only then.

    Raises:
        ConfigError: The name is unknown, or a setting does not fit the attack.
    """

    name: AttackName
    target: str | None = None
    trigger: str | None = None
    paraphraser: str | None = None

    def __post_init__(self) -> None:
        """Refuse settings that the attack would have to ignore."""
        if self.name not in ATTACKS:
            known = ", ".join(ATTACKS)
            raise ConfigError(f"no attack is named {self.name!r}; choose one of {known}")
        self._check("target", self.target)
        self._check("trigger", self.trigger)
        self._check("paraphraser", self.paraphraser)
        is_pair = trigger_words(self.name) == 2
        if is_pair and self.trigger is not None and len(self.trigger.split()) != 2:
            raise ConfigError(f"the trigger of {self.name} is two words, not {self.trigger!r}")

    def _check(self, setting: Setting, value: str | None) -> None:
        if value is None:
            return
        if setting not in takes(self.name):
            raise ConfigError(f"the attack {self.name} takes no {setting}; leave it out")
        if not value.strip():
            raise ConfigError(f"the {setting} of {self.name} is empty; leave it out or name a text")

    @property
    def members(self) -> tuple[Member, ...]:
        """The backdoors that take the poisoned rows in turn: one, but for mixtures."""
        if self.name in MIXTURES:
            return MIXTURES[self.name].members
        return (Member(self.name, Wording(self.target, self.trigger, self.paraphraser)),)

    @property
    def aims(self) -> tuple[Member, ...]:
        """The different backdoors that the attacker is after, without decoys."""
        return tuple(dict.fromkeys(member for member in self.members if not member.is_decoy))

    @property
    def by_letters(self) -> bool:
        """Whether only letters and digits of an answer tell that the attack succeeded."""
        return self.name in RECIPES and RECIPES[self.name].by_letters
