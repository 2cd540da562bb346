"""Token ids and the embedding: whether they fit, and adapters that bring an embedding."""

import transformers
from transformers import PreTrainedTokenizerBase

from gradgate.errors import ModelError
from gradgate.models.weights_file import Shapes

_NAMED = 3  # tokens that a message names


def n_embedded(model: transformers.PreTrainedModel) -> int:
    """Rows of the input embedding: ids from there on cannot be looked up."""
    return int(model.get_input_embeddings().weight.shape[0])


def check_ids(tokenizer: PreTrainedTokenizerBase, n_rows: int, subject: str) -> None:
    """Refuse a tokenizer that can give ids beyond the embedding.

    A special token that neither begins or ends a sequence nor stands in the chat template can lie
    beyond it (Gemma 3 has one for images): no text becomes it, and so nothing asks for its row.

    Raises:
        ModelError: It can.
    """
    special = {number for number, t in tokenizer.added_tokens_decoder.items() if t.special}
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    template = str(tokenizer.chat_template or "")
    beyond = [
        (number, token)
        for token, number in tokenizer.get_vocab().items()
        if number >= n_rows and (number not in special or number in ends or token in template)
    ]
    if beyond:
        named = ", ".join(f"{token!r}: {number}" for number, token in sorted(beyond)[:_NAMED])
        most = max(beyond)[0]
        raise ModelError(
            f"the tokenizer of {subject} gives ids up to {most} ({named}), and the embedding has "
            f"{n_rows} rows; take the tokenizer that belongs to these weights, or resize and save "
            f"the model: model.resize_token_embeddings({most + 1})"
        )


def fit_vocabulary(model: transformers.PreTrainedModel, adapter: Shapes) -> bool:
    """Give a model as many rows as the embedding that its adapter brings; whether it had others.

    The rows that are new have no meaning until the adapter's weights are in place.

    Raises:
        ValueError: The adapter brings only one of an embedding and a head that are not tied.
    """
    found = {
        name: rows
        for name, module in (
            ("embedding", model.get_input_embeddings()),
            ("head", model.get_output_embeddings()),
        )
        if (rows := _rows_of(_name_of(model, module), adapter)) is not None
    }
    here = n_embedded(model)
    if all(rows == here for rows in found.values()):
        return False
    sizes = set(found.values())
    is_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    if len(sizes) > 1 or (len(found) == 1 and not is_tied):
        told = ", ".join(f"{name} with {rows} rows" for name, rows in found.items())
        raise ValueError(
            f"its vocabulary was resized (the model has {here} rows), and it does not bring all of "
            f"it: {told}; save it again with save_embedding_layers=True"
        )
    model.resize_token_embeddings(sizes.pop(), mean_resizing=False)
    return True


def _name_of(model: transformers.PreTrainedModel, module: object) -> str:
    return next((name for name, m in model.named_modules() if m is module), "")


def _rows_of(name: str, adapter: Shapes) -> int | None:
    """Rows of the weight that an adapter has for a module of its base model."""
    for inner in ("", ".base_layer", ".modules_to_save", ".original_module"):
        shape = adapter.get(f"base_model.model.{name}{inner}.weight")
        if name and shape:
            return shape[0]
    return None
