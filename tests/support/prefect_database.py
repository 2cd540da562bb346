"""The database of a server of Prefect, as its migrations leave it."""

import asyncio
from pathlib import Path

from prefect.server.database import provide_database_interface
from prefect.server.database.dependencies import temporary_database_interface
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings


def make_database(folder: Path) -> None:
    """Run all migrations on a new file, which a server then finds up to date."""
    address = f"sqlite+aiosqlite:///{folder}/prefect.db"
    here = temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: address})
    with here, temporary_database_interface():
        asyncio.run(provide_database_interface().create_db())
