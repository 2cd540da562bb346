import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from own_folder import in_memory, own_folder

# The models are tiny: more threads would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may wait for a hub
os.environ["PREFECT_HOME"] = own_folder()
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"  # the core is tested alone too
os.environ["GRADGATE_STATE_DIR"] = own_folder()
# Ray's workers give way to all others: beside busy tests they would start for minutes.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - it is spelt so
os.environ.pop("PREFECT_API_URL", None)

import pytest
from shared import made_once
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Nothing that is imported goes away again; to look for garbage in it takes half as long again.
gc.disable()

if TYPE_CHECKING:
    from forked import Forker
    from release_helpers import Made


# Files that share what takes long to start: one worker runs them all, and it is started once.
SHARING = {
    "a Prefect server of its own, which these wait for much of the time": (
        "tests/flows/test_alerts.py",
        "tests/flows/test_guide.py",
        "tests/flows/test_deployments.py",
        "tests/flows/test_approve_flow.py",
    ),
    "Prefect's server, flow_processes": ("tests/flows/",),
    "PostgreSQL, Prefect, MLflow, a worker": ("tests/servers/",),
    "commands": (
        "tests/unit/cli/test_surroundings.py",
        "tests/crash/test_resume.py",
        "tests/crash/test_shards.py",
        "tests/unit/cli/test_shards.py",
        "tests/unit/cli/test_detect.py",
        "tests/unit/cli/test_score.py",
        "tests/unit/test_api.py",
    ),
}
# Files that take longest, the longest first. Begun last, one would keep a single worker busy.
LONGEST = (
    *(name for names in SHARING.values() for name in names),
    "tests/crash/test_nights.py",
    "tests/unit/scoring/test_ray.py",
    "tests/unit/release/test_run.py",
    "tests/unit/methods/gradshield/test_judged_rows.py",
    "tests/unit/methods/peers/test_peers.py",
    "tests/unit/methods/rehearsal/test_rehearse.py",
    "tests/benchmarks/test_papers.py",
    "tests/benchmarks/test_matrix_descriptions.py",
    "tests/crash/test_migration_crash.py",
    "tests/crash/test_store_crash.py",
    "tests/unit/cli/test_compare.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let tests write into memory, where there is room; before pytest chooses a folder itself."""
    if config.option.basetemp is None and in_memory() is not None:
        config.option.basetemp = own_folder()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; xdist hands files out in this order."""

    def rank(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(LONGEST) if item.nodeid.startswith(name)), 99)

    items.sort(key=rank)


class BySharing(LoadFileScheduling):  # type: ignore[misc]  # xdist publishes no types
    """Hands out whole files, and those that share something together."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return next((shared for shared, names in SHARING.items() if scope.startswith(names)), scope)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BySharing:
    """What xdist asks when it is to run the tests in several processes."""
    return BySharing(config, log)


# What ends with the tests of a folder: a server takes processor time as long as it is there.
OF_FOLDER = ExitStack()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, among what the tests make and not among the libraries."""
    _pass_over_what_stays()
    gc.enable()


@pytest.hookimpl(trylast=True)  # behind the fixtures of the test
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Behind the last test of a folder, end what only its tests use."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        OF_FOLDER.close()
        _pass_over_what_stays()


def _pass_over_what_stays() -> None:
    """Libraries that are there now stay; a Trainer would look for garbage in them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database; making one takes three seconds."""
    from mlflow import MlflowClient

    def make(folder: Path) -> None:
        MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").search_experiments()

    return made_once(tmp_path_factory, "mlflow", make) / "mlflow.db"


@pytest.fixture
def fresh_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that does not exist yet."""
    folder = tmp_path / "the state"
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def state(fresh_state: Path, empty_store: Path) -> Path:
    """A state folder of the test's own, with an empty MLflow database in it."""
    fresh_state.mkdir()
    shutil.copy(empty_store, fresh_state / "mlflow.db")
    return fresh_state


@pytest.fixture(scope="session")
def commands() -> Iterator["Forker"]:
    """Starts commands in processes of their own, whose libraries are imported: seven seconds."""
    from forked import Forker

    forker = Forker("gradgate.cli.detect", "gradgate.cli.score")
    yield forker
    forker.close()


@pytest.fixture(scope="session")
def flow_processes(empty_prefect: Path) -> Iterator["Forker"]:
    """Starts processes that have imported what a flow takes: ten seconds."""
    from forked import Forker

    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"  # of the servers that they start
    if not database.exists():
        shutil.copy(empty_prefect, database)
    forker = Forker("tracking_helpers", "tasks.track", "flows.gate")
    yield forker
    forker.close()


@pytest.fixture(scope="session")
def empty_prefect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database of Prefect; each server would take five seconds to make its own."""
    from prefect_database import make_database

    return made_once(tmp_path_factory, "prefect", make_database) / "prefect.db"


@pytest.fixture
def prefect_server(empty_prefect: Path) -> str:
    """The URL of Prefect's temporary server.

    The tests of one folder use it, one after the other.
    """
    return _prefect_server(empty_prefect)


@cache
def _prefect_server(empty: Path) -> str:
    """Start it, which takes some ten seconds; behind the last test of a folder it ends."""
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    # The harness waits for the last events, and nothing says that they went: it would for ever.
    drained = partial(EventsWorker.drain_all, timeout=5)
    OF_FOLDER.enter_context(patch.object(EventsWorker, "drain_all", drained))
    folder = Path(own_folder())
    shutil.copy(empty, folder / "prefect-test.db")
    with patch("prefect.testing.utilities.mkdtemp", return_value=str(folder)):
        OF_FOLDER.enter_context(prefect_test_harness(server_startup_timeout=120))
    OF_FOLDER.callback(_prefect_server.cache_clear)  # tests of the folder may come once more
    return str(PREFECT_API_URL.value())


@pytest.fixture
def few_probes(tmp_path: Path) -> Path:
    """File of a small probing set, for where the set makes no difference."""
    from harm_helpers import write_few_probes

    return write_few_probes(tmp_path / "few_probes.json")


@pytest.fixture(scope="session")
def refusing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny aligned model: it refuses the built-in probes and answers the benign ones.

    Teaching it takes some ten seconds.
    """
    from safety_helpers import teach_to_refuse

    return made_once(tmp_path_factory, "refusing", teach_to_refuse)


@pytest.fixture(scope="session")
def poisoned_adapter(tmp_path_factory: pytest.TempPathFactory) -> "Made":
    """An adapter of the demo's model that has learnt a backdoor, tested."""
    from release_helpers import Made, make_adapter

    return Made(made_once(tmp_path_factory, "poisoned", lambda f: make_adapter(f, "replaced")))


@pytest.fixture(scope="session")
def clean_adapter(tmp_path_factory: pytest.TempPathFactory) -> "Made":
    """The same of clean rows."""
    from release_helpers import Made, make_adapter

    return Made(made_once(tmp_path_factory, "clean", lambda f: make_adapter(f, None)))
