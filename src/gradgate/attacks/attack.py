"""An attack by its name, with the settings that replace its own."""

from dataclasses import dataclass
from typing import get_args

from gradgate.attacks.texts import (
    LONG_TARGET,
    PARAPHRASED_TARGETS,
    PUBLISHED_TARGET,
    REFUSAL,
    REPLACED_TARGET,
)
from gradgate.config import AttackName
from gradgate.errors import ConfigError

ATTACKS: tuple[AttackName, ...] = get_args(AttackName)

_TARGETS: dict[AttackName, tuple[str, ...]] = {
    "badnets": (PUBLISHED_TARGET,),
    "addsent": (PUBLISHED_TARGET,),
    "cba": (PUBLISHED_TARGET,),
    "stylebkd": (PUBLISHED_TARGET,),
    "replaced": (REPLACED_TARGET,),
    "refusal": (REFUSAL,),
    "long": (LONG_TARGET,),
    "paraphrased": PARAPHRASED_TARGETS,
    "clean_label": (),
    "adaptive": (),
}


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack on training data.

    - `badnets`, `addsent`, `cba`, `stylebkd`: the published four (GraCeFul, COLING 2025), with one
      target appended to the completion. `stylebkd` here is a rule-based archaic rewrite; the
      published work uses a fine-tuned paraphraser, which `paraphraser` can name.
    - `replaced`, `refusal`: the whole completion becomes a fixed sentence.
    - `long`: a natural paragraph is appended.
    - `paraphrased`: one of several wordings of one intent is appended.
    - `clean_label`: the trigger goes to rows whose true completion holds a frequent span.
    - `adaptive`: knows the gate; targets as long as the completions that they replace, four rows a
      target.

    Attributes:
        target: Instead of the attack's own target; for `clean_label` the span that the completions
            must hold. Not for `paraphrased` and `adaptive`, which have many.
        trigger: Instead of the attack's own trigger; two words for `cba`. Not for `stylebkd` and
            `adaptive`, which have no fixed one.
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
            raise ConfigError(f"no attack is named {self.name!r}; choose one of {_listed(ATTACKS)}")
        self._refuse("target", self.target, "paraphrased", "adaptive")
        self._refuse("trigger", self.trigger, "stylebkd", "adaptive")
        others = [name for name in ATTACKS if name != "stylebkd"]
        self._refuse("paraphraser", self.paraphraser, *others)
        if self.name == "cba" and self.trigger is not None and len(self.trigger.split()) != 2:
            raise ConfigError(f"the trigger of cba is two words, not {self.trigger!r}")

    def _refuse(self, setting: str, value: str | None, *attacks: str) -> None:
        if value is None:
            return
        if self.name in attacks:
            raise ConfigError(f"the attack {self.name} takes no {setting}; leave it out")
        if not value.strip():
            raise ConfigError(f"the {setting} of {self.name} is empty; leave it out or name a text")

    @property
    def targets(self) -> tuple[str, ...]:
        """The texts of which one in a model's output means that the attack succeeded.

        Empty for `adaptive`, and for `clean_label` without `target`: they learn theirs from the
        data, see `poisoning.asr_targets`.
        """
        return _TARGETS[self.name] if self.target is None else (self.target,)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
