"""Whether a test of what was trained can say what a server would answer with it."""

from gradgate.config import ModelConfig
from gradgate.models.loading import load_tokenizer
from gradgate.models.same_tokenizer import require_same_reading


def check_comparable(model: ModelConfig, tuned: ModelConfig) -> frozenset[int]:
    """Refuse what would be asked otherwise than it is used; no weight is loaded.

    Args:
        model: The model before.
        tuned: The model after.

    Returns:
        Ids of the tokens that were added, which no prompt of a test may have.

    Raises:
        ModelError: The tokenizer or the chat template is another one.
        TransientError: The hub did not answer.
    """
    subject = repr(tuned.path if tuned.adapter is None else tuned.adapter)
    return require_same_reading(load_tokenizer(model), load_tokenizer(tuned), subject)
