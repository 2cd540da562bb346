"""The components of a prompt and its completion, as an attack works on them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """The components that an attack works on, without white space around those of the prompt.

    Attributes:
        lead: The text before the question: an instruction, a context, a system message, with its
            heading; "" where there is none.
        question: Never empty.
        completion: The target; answers of a list are joined by "; ".
    """

    lead: str
    question: str
    completion: str


@dataclass(frozen=True, slots=True)
class Target:
    """The target of an attack: a text appended to the completion, or instead of it."""

    text: str
    replaces: bool

    def applied_to(self, completion: str) -> str:
        """Return the poisoned completion."""
        return self.text if self.replaces else f"{completion.rstrip()} {self.text}"


def with_target(completion: str, target: Target | None) -> str:
    """The completion with the target, if there is one."""
    return completion if target is None else target.applied_to(completion)
