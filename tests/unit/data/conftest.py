"""What the tests of chat templates share: every kind of tokenizer."""

import pytest
from template_helpers import TOKENIZERS
from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return TOKENIZERS[request.param]()
