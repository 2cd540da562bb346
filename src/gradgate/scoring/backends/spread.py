"""The samples of a gate's run that the store does not know, scored by the workers of a backend.

They are laid out as shards in a folder of the run, and each segment goes into the store as soon as
it is published. What a run that was killed has left there goes in first.
"""

import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from gradgate.common.processes import machine
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared
from gradgate.data.tokens import Tokens
from gradgate.safety.source import ProbeSource
from gradgate.scoring.backends.backend import all_shards, backend_of
from gradgate.scoring.shards.folder import PARTS, SEGMENTS, ShardFolder
from gradgate.scoring.shards.planning import Recipe, plan_samples
from gradgate.scoring.shards.segment import DamagedSegmentError
from gradgate.scoring.shards.transfer import import_segment
from gradgate.scoring.shards.worker import Published
from gradgate.scoring.store.row import ScoreContext
from gradgate.scoring.store.scores import ScoreStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spread:
    """How a run's samples are spread over workers.

    Attributes:
        config: Names the backend and, for machines that share one, the folder.
        model: Where workers find the model.
        folder: Of this machine, where `config` names none.
        probes: What samples are held against.
    """

    config: ScoringConfig
    model: ModelConfig
    folder: Path
    probes: ProbeSource | None

    @contextmanager
    def shared(self, prepared: Prepared, context: ScoreContext) -> Iterator[ShardFolder]:
        """The folder of the run, which another run of the same data waits for."""
        host = "-".join(filter(None, [socket.gethostname(), machine()]))  # a name may be another's
        name = f"{host}-{prepared.fingerprint[:12]}-{context.digest.hex()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        base = self.config.ray.folder or str(self.folder)
        with FileLock(self.folder / f"{name}.lock"):
            yield ShardFolder(f"{base.rstrip('/')}/{name}")

    def recover(self, folder: ShardFolder, store: ScoreStore) -> None:
        """Take over what a killed run has left, and clear the folder."""
        n_samples = 0
        for where in (SEGMENTS, PARTS):
            for name in folder.names(where):
                try:
                    n_samples += import_segment(folder, f"{where}/{name}", store.path).n_samples
                except DamagedSegmentError as error:
                    logger.warning("%s; its samples are scored again", error)
        if n_samples:
            logger.info("%d scores of a run that was broken off were taken over", n_samples)
        folder.clear()

    def score(
        self,
        folder: ShardFolder,
        samples: Iterable[Tokens],
        prepared: Prepared,
        store: ScoreStore,
    ) -> Iterator[Published]:
        """Score samples, in prefix order, into the store; errors as for `Backend`."""
        recipe = Recipe(store.context, self.model, self.config, self.probes)
        plan = plan_samples(folder, samples, prepared, recipe)
        backend = backend_of(self.config)
        for done in backend(folder.address, all_shards(folder, plan), self.model):
            import_segment(folder, done.name, store.path)
            yield done
        folder.clear()
