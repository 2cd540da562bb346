"""The MLflow store: where it is, how it is opened, and what its failures mean."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import HTTPError, RequestException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gradgate.common.redaction import redacted
from gradgate.common.state import state_dir
from gradgate.errors import ConfigError, GradgateError, TransientError

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_LOCK_TIMEOUT = 120  # seconds; migrating a fresh database takes 3-5
_ENVIRONMENT = {
    # An unreachable server is reported after seconds instead of MLflow's four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # At the end of a run MLflow prints its address, with the credentials of the URI.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri(uri: str | None) -> str:
    """The given URI, or that of the sqlite file in the state folder; always absolute.

    Raises:
        ConfigError: It is not the URI of a server or database.
    """
    if not uri:
        return f"sqlite:///{state_dir() / 'mlflow.db'}"
    parts = urlsplit("databricks://" if uri == "databricks" else uri)
    shown = redacted(uri)
    if parts.scheme.split("+")[0] not in _SCHEMES:
        raise ConfigError(
            f"tracking.uri {shown} must begin with one of {', '.join(_SCHEMES)}; for a local "
            "store give sqlite:////folder/mlflow.db (MLflow no longer writes to plain folders)"
        )
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise ConfigError(f"tracking.uri {shown} names no host")
    if parts.scheme == "sqlite":
        return f"sqlite:///{_sqlite_path(uri).absolute()}"
    return uri


def client_of(uri: str) -> MlflowClient:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_experiment(uri: str, name: str) -> str:
    """Id of the experiment, made when missing; a fresh database is initialised by one process."""
    if urlsplit(uri).scheme in ("http", "https", "databricks", ""):
        return _experiment_id(client_of(uri), name, None)
    with FileLock(state_dir() / "mlflow.lock", timeout=_LOCK_TIMEOUT):
        if urlsplit(uri).scheme == "sqlite":
            _require_writable(_sqlite_path(uri))
        location = (state_dir() / "mlartifacts").as_uri()
        return _experiment_id(client_of(uri), name, location)


def _experiment_id(client: MlflowClient, name: str, artifact_location: str | None) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=artifact_location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)  # another process was faster
    if experiment is None or experiment.lifecycle_stage != "active":
        raise ConfigError(
            f"the MLflow experiment {name!r} was deleted; restore it "
            f"(mlflow experiments restore) or set tracking.experiment to another name"
        )
    return str(experiment.experiment_id)


def _sqlite_path(uri: str) -> Path:
    database = make_url(uri).database
    if not database or database == ":memory:":
        raise ConfigError(f"tracking.uri {uri} names no file: nothing would be kept")
    return Path(database)


def _require_writable(path: Path) -> None:
    """Ask sqlite for the write lock; MLflow would try for minutes to open what cannot be opened."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except (OSError, sqlite3.DatabaseError) as error:
        if "locked" in str(error):
            raise TransientError(f"the MLflow database {path} is locked") from error
        raise ConfigError(f"the MLflow database {path} cannot be written: {error}") from error


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn MLflow's failures into ours; `from None`, because theirs repeat the credentials."""
    try:
        yield
    except MlflowException as error:
        raise _failure(error, uri, passing=_is_passing(error, uri)) from None
    except (RequestException, Timeout, SQLAlchemyError) as error:
        response = error.response if isinstance(error, HTTPError) else None
        refused = response is not None and response.status_code < 500
        raise _failure(error, uri, passing=not refused) from None
    except (OSError, ImportError) as error:  # artifacts cannot be written; no database driver
        raise _failure(error, uri, passing=False) from None


def _is_passing(error: MlflowException, uri: str) -> bool:
    status: int = error.get_http_status_code()
    if urlsplit(uri).scheme in ("http", "https"):
        return status >= 500 or status == 429
    return error.error_code == "TEMPORARILY_UNAVAILABLE" and "readonly" not in str(error)


def _failure(error: Exception, uri: str, passing: bool) -> GradgateError:
    store, text = redacted(uri), redacted(str(error))
    if passing:
        return TransientError(f"MLflow at {store} did not answer: {text}")
    return ConfigError(f"MLflow at {store} refused: {text}")
