"""What can be known to be wrong before the expensive part, looked for before it."""

from pathlib import Path

from gradgate.common.disk import require_space, size_of
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import state_dir
from gradgate.data.prepare import Prepared
from gradgate.data.reference import check_reference
from gradgate.data.sources.source import check_source
from gradgate.gate.config import GateConfig
from gradgate.models.handle import ModelHandle
from gradgate.scoring.config import ScoreConfig
from gradgate.scoring.extent import extent_of

# What a score takes on a disk, in bytes: the sketch and the other values of a sample; the
# log-probability of a token, in float16. It is written twice, as a draft and as a table.
_SAMPLE_BYTES = 2 * 640
_TOKEN_BYTES = 2 * 2


def check_inputs(config: ScoreConfig, run: RunFolder, model: ModelHandle, is_read: bool) -> None:
    """Check source, model, reference and room on the disk before any row is read.

    Args:
        config: Names them.
        run: Where the tables will lie.
        model: The one that scores.
        is_read: Whether rows come from the source; otherwise they are in memory.

    Raises:
        ModelError: The files of the model are damaged, or its tokenizer does not fit it.
        DataError: Nothing is at the source, or the reference cannot be read.
        ConfigError: There is too little room for the samples.
        TransientError: A service did not answer.
    """
    if is_read:
        check_source(config.data.source)
    model.check()
    require_space(run.path, size_of(Path(config.data.source)), "the table of samples")
    if isinstance(config, GateConfig) and config.detection.reference is not None:
        limit = model.limit(config.data.max_tokens)
        check_reference(config.detection.reference, config.data, model.tokenizer(), limit)


def check_room(prepared: Prepared, config: ScoreConfig, run: RunFolder) -> None:
    """Check before anything is scored that the scores have room.

    Raises:
        ConfigError: They have not.
        DataError: The samples cannot be read.
    """
    extent = extent_of(prepared.samples_path)
    n_bytes = _SAMPLE_BYTES * extent.n_rows + _TOKEN_BYTES * extent.n_tokens
    # Without a store they lie in a temporary one beside the table.
    require_space(run.path, n_bytes, "the score table")
    if config.scoring.store and config.scoring.from_shards is None:
        require_space(state_dir(), n_bytes // 2, "the score store")
