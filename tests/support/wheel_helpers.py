"""gradgate as a wheel in an environment of its own, as on a machine without a checkout."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def installed_wheel(folder: Path) -> Path:
    """Build the wheel and install it beside the libraries that are there; the folder of programs.

    The libraries come by a `.pth` file, which does not take up the one of the editable gradgate.
    """
    built, environment = folder / "dist", folder / "venv"
    _run("-m", "hatchling", "build", "--target", "wheel", "--directory", built)
    _run("-m", "venv", "--without-pip", environment)
    programs = environment / "bin"
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    _run("-m", "pip", "--python", programs / "python", "install", "--quiet", "--no-deps",
         "--no-index", *built.glob("*.whl"))  # fmt: skip
    theirs = Path(sys.executable).with_name("prefect").read_text()
    script = programs / "prefect"
    script.write_text(f"#!{programs / 'python'}\n{theirs.partition(chr(10))[2]}")
    script.chmod(0o755)
    return programs


def _run(*arguments: object) -> None:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
