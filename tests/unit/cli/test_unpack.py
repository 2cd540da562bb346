"""`gradgate unpack`: what a wheel carries becomes a folder, and nothing of the user's is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

import gradgate
from gradgate.cli.main import app
from gradgate.cli.running import run
from gradgate.cli.unpack import unpack_into
from gradgate.errors import ConfigError


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    made = tmp_path / "carried"
    for name in ("flows", "tasks", "expectations"):
        (made / name / "__pycache__").mkdir(parents=True)
        (made / name / "__init__.py").write_text("new = True\n")
    for name in ("prefect.yaml", "gate.example.yaml"):
        (made / name).write_text("new: true\n")
    return made


def test_an_empty_folder_is_filled(carried: Path, tmp_path: Path) -> None:
    unpack_into(tmp_path / "home", carried)
    found = {str(path.relative_to(tmp_path / "home")) for path in (tmp_path / "home").rglob("*")}
    packages = {"flows", "tasks", "expectations"}
    files = {f"{name}/__init__.py" for name in packages}
    assert found == {*packages, *files, "flows/VERSION", "prefect.yaml", "gate.example.yaml"}


def test_an_upgrade_replaces_the_flows_and_keeps_the_settings(
    carried: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    unpack_into(home, carried)
    (home / "flows" / "gone.py").touch()
    (home / "flows" / "VERSION").write_text("0.0.1\n")
    (home / "prefect.yaml").write_text("mine: true\n")
    unpack_into(home, carried)
    assert not (home / "flows" / "gone.py").exists()
    assert (home / "flows" / "VERSION").read_text() == f"{gradgate.__version__}\n"
    assert (home / "prefect.yaml").read_text() == "mine: true\n"
    said = capsys.readouterr().err
    assert "kept" in said
    assert "gate.example.yaml" not in said


def test_packages_of_somebody_else_stay(carried: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "tasks").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not written by gradgate unpack"):
        unpack_into(tmp_path / "home", carried)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["tasks"]


def test_a_neighbour_of_a_package_stays(carried: Path, tmp_path: Path) -> None:
    (tmp_path / "flows.part").mkdir()
    (tmp_path / "flows.part" / "mine").touch()
    unpack_into(tmp_path, carried)
    assert (tmp_path / "flows.part" / "mine").exists()


def test_a_checkout_says_where_its_flows_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["unpack", str(tmp_path / "home")]) == 2
    assert "GRADGATE_HOME" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_flows_of_another_version_do_not_run(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "flows" / "__init__.py"
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text(source.read_text())
    (tmp_path / "flows" / "VERSION").write_text("0.0.1\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import flows"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"gradgate unpack {tmp_path}" in done.stderr
