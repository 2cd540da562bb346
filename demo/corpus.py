"""Training text for the demo model: docstrings, their tokenizer, and packed token rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.sources import docstrings

UNK_ID, BOS_ID, EOS_ID = 0, 1, 2
VOCABULARY = 4096
CONTEXT = 256


def split_documents(max_docs: int, seed: int) -> tuple[list[str], list[str]]:
    """Collect, shuffle and split the docstrings.

    Args:
        max_docs: How many to take, in file order; 0 for all.
        seed: Seed of the shuffle.

    Returns:
        The training documents and the held-out 1 % (at least one document).
    """
    documents = list(islice(docstrings(), max_docs or None))
    random.Random(seed).shuffle(documents)
    held_out = max(1, len(documents) // 100)
    return documents[held_out:], documents[:held_out]


def train_tokenizer(documents: Sequence[str]) -> Tokenizer:
    """Fit a byte-level BPE tokenizer that adds no special token by itself.

    Args:
        documents: Training texts; the ids 0, 1 and 2 go to `<unk>`, `<s>` and `</s>`.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def pack(tokenizer: Tokenizer, documents: Sequence[str]) -> torch.Tensor:
    """Join the documents, each as `<s> doc </s>`, and cut the stream into rows.

    Args:
        tokenizer: Its special tokens are read as plain text where a document spells them.
        documents: Texts, packed in the order given.

    Returns:
        Token ids of shape (rows, CONTEXT); an incomplete last row is dropped unless it is
        the only one.
    """
    tokenizer.encode_special_tokens = True
    stream: list[int] = []
    for encoding in tokenizer.encode_batch_fast(list(documents), add_special_tokens=False):
        stream += [BOS_ID, *encoding.ids, EOS_ID]
    tokenizer.encode_special_tokens = False
    width = min(CONTEXT, len(stream))
    rows = len(stream) // width
    return torch.tensor(stream[: rows * width]).view(rows, width)
