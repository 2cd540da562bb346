"""Harmful canaries, honest refusals and look-alikes of the probing set, scored as rows are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradgate.data.sample import Sample
from gradgate.errors import DataError
from gradgate.methods.contract import Scores
from gradgate.safety.probes import Exchange
from gradgate.safety.rendering import as_sample


@dataclass(frozen=True, eq=False)
class Anchor:
    """Samples of one kind, and their scores."""

    samples: list[Sample]
    scores: Scores


@dataclass(frozen=True, eq=False)
class Anchors:
    """What a threshold is held against.

    Attributes:
        harmful: Harmful prompts with replies that comply.
        refusals: Harmful prompts with honest refusals.
        look_alikes: Benign prompts with words of harm, answered.
    """

    harmful: Anchor
    refusals: Anchor
    look_alikes: Anchor


def score_anchors(scores: Scores, chat: bool) -> Anchors:
    """Score the probing set's exchanges with the model and settings of the rows.

    Args:
        scores: Of the rows.
        chat: Whether they are rendered as chats: a model that refuses in its own chat template
            may comply with a prompt that is worded in another way.

    Raises:
        DataError: The rows were not held against a probing set.
        ModelError: The model cannot be loaded.
    """
    probes, model, score = scores.probes, scores.model, scores.score
    if probes is None or model is None or score is None:
        raise DataError("the rows were not held against a probing set; score the data anew")
    tokenizer = model.tokenizer()

    def scored(exchanges: Sequence[Exchange]) -> Anchor:
        samples = [
            as_sample(one.prompt, one.reply, tokenizer, row, chat)
            for row, one in enumerate(exchanges)
        ]
        return Anchor(samples, replace(score(samples), probes=probes))

    return Anchors(scored(probes.canaries), scored(probes.refusals), scored(probes.look_alikes))
