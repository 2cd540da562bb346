"""The PostgreSQL that tests start: that of Debian, and that of a package where there is none."""

from pathlib import Path

import psycopg
import pytest
from postgres import Postgres, debian, packaged, postgres

KINDS = [programs for programs in (debian(), packaged()) if programs is not None]


@pytest.mark.parametrize("programs", KINDS, ids=lambda path: path.parts[-3])
def test_it_runs_with_what_prefect_needs_and_asks_for_a_password(programs: Path) -> None:
    with postgres(programs) as server:
        server.execute("CREATE DATABASE one; CREATE DATABASE two;")
        with server.connect("two") as database:
            database.execute("CREATE EXTENSION pg_trgm")
        with pytest.raises(psycopg.OperationalError, match="password"):
            Postgres(server.port, "other").connect()
    with pytest.raises(psycopg.OperationalError):
        server.connect()
