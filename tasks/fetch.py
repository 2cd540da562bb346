"""Fetch the rows of the source and make them samples."""

import logging
from pathlib import Path

from prefect import task

from gradgate.config import DataConfig, ModelConfig
from gradgate.models import load_tokenizer, sample_limit
from gradgate.prepare import Prepared, prepare
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def fetch(data: DataConfig, model: ModelConfig, folder: Path) -> Prepared:
    """Write samples.parquet and rejected.parquet into `folder`."""
    tokenizer = load_tokenizer(model)
    prepared = prepare(data, tokenizer, sample_limit(model, data.max_tokens), folder)
    logger.info(
        "fetched %d rows: %d samples (%d distinct), %d rejected",
        *(prepared.n_rows, prepared.n_samples, prepared.n_unique, prepared.n_rejected),
    )
    return prepared
