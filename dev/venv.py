"""Make a virtual environment and install pinned requirements into it.

`python3 dev/venv.py .venv requirements.txt ...`, called by the Makefile. It must run on any
Python 3, to report one that is too old; so annotations that an old one cannot evaluate are strings
(3.6 has no `from __future__ import annotations`).

The environment is made without pip (Debian ships `ensurepip` in a package of its own) and
filled by the calling Python's pip from outside, which PEP 668 allows.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
OLDEST_PIP = (22, 3)  # the first with `--python`


def python_problem(version: "tuple[int, ...]") -> "str | None":
    """Say what is wrong with a Python version, or None."""
    if version[:2] >= OLDEST_PYTHON:
        return None
    return (
        "Windmail needs Python {}.{} or newer, this is {}.{}.\n"
        "If another one is installed, name it:  make PYTHON=python3.12 ..."
    ).format(*OLDEST_PYTHON, *version[:2])


def pip_problem(output: "str | None") -> "str | None":
    """Say what is wrong with the answer of `pip --version` (None: there is no pip)."""
    if output is None:
        return (
            "this Python has no pip. Install it, on Debian and Ubuntu:\n"
            "  sudo apt-get install python3-pip"
        )
    version = output.split()[1]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST_PIP:
        return None
    return "pip {} is too old, {}.{} is needed:\n  {} -m pip install --upgrade pip".format(
        version, *OLDEST_PIP, Path(sys.executable).name
    )


def pip_version() -> "str | None":
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def base_python() -> "str | None":
    """Return the Python that an active virtual environment was made from; None outside of one."""
    if sys.prefix == sys.base_prefix:
        return None
    name = "python{}.{}".format(*sys.version_info[:2])
    return shutil.which(name, path=str(Path(sys.base_prefix) / "bin"))


def usable(venv: Path) -> bool:
    """True if the environment's Python still runs (a system upgrade can take it away)."""
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    code = "import sys; sys.exit(sys.version_info < {!r})".format(OLDEST_PYTHON)
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0


def main(folder: str, requirements: "list[str]") -> int:
    """Make the environment where it is missing or broken, then install; 0 when all is in place.

    An active environment's Python gives way to the one that it was made from.
    """
    venv = Path(folder)
    problem = python_problem(sys.version_info[:2]) or pip_problem(pip_version())
    base = base_python()
    if problem and base:  # .venv is active, which has no pip
        os.execv(base, [base, __file__, folder, *requirements])
    if problem:
        print("error: " + problem, file=sys.stderr)
        return 1
    if not usable(venv):
        shutil.rmtree(str(venv), ignore_errors=True)
        print("making " + folder, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    for file in requirements:
        print("installing " + file, flush=True)
        command = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
        command += ["--quiet", "--disable-pip-version-check", "--require-hashes", "-r", file]
        done = subprocess.run(command, check=False)
        if done.returncode:
            print("error: could not install {}, see above".format(file), file=sys.stderr)
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
