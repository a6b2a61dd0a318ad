"""The peer's own virtual environment: Ultralytics (AGPL-3.0) is installed there, run there, and never imported here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from versus_yolo.work import BenchmarkError

SCRIPTS = Path(__file__).resolve().parent / "peer_scripts"
_PACKAGES = (
    "torch>=2.13,<2.14",  # the build of the product
    "numpy>=2.1,<3",
    "opencv-python-headless>=4.11,<6",
    "pillow>=11,<14",
    "matplotlib>=3.10,<4",
    "polars>=1.20,<3",
    "psutil>=6,<8",
    "pyyaml>=6,<7",
    "requests>=2.32,<3",
    "scipy>=1.13,<2",
    "onnx>=1.23,<1.24",
    "onnxruntime>=1.32,<1.33",
)
# without what they ask for: another build of torch, OpenCV with windows, packages of the vendor's service
_PACKAGES_ALONE = ("ultralytics>=8.4.190,<8.5", "ultralytics-thop>=2.2.3,<3", "torchvision>=0.28,<0.29")
_SETTINGS = {"sync": False, "clearml": False, "comet": False, "dvc": False, "mlflow": False, "raytune": False}


class PeerEnvironment:
    """Runs scripts with the peer's Python, offline, with a home of their own.

    Args:
        work: the work folder; the environment is `peer/env` in it, the home `peer/home`.
        python: the Python of an environment that exists; None makes one.
    """

    def __init__(self, work: Path, python: Path | None = None) -> None:
        self._home = work / "peer" / "home"
        self._env = work / "peer" / "env"
        self._given = python

    def install(self) -> None:
        """Make the environment, unless it is complete; hundreds of megabytes.

        Raises:
            BenchmarkError: the installation failed, or the given Python is none.
        """
        done = self._env / "complete"
        if self._given is None and not done.is_file():
            print("peer: installing Ultralytics in an environment of its own", flush=True)
            self._call([sys.executable, "-m", "venv", "--clear", str(self._env)])
            pip = [str(self._python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            self._call([*pip, *_PACKAGES])
            self._call([*pip, "--no-deps", *_PACKAGES_ALONE])
            done.touch()
        if not self._python().is_file():
            raise BenchmarkError(f"{self._python()}: no such file; --peer-python names the Python of an environment")
        self._furnish_home()

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decide the result."""
        names = ("ultralytics", "torch", "onnx", "onnxruntime")
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
        found: dict[str, str] = json.loads(self._call([str(self._python()), "-c", code], capture=True))
        return found

    def run(self, script: str, settings: Mapping[str, Any], folder: Path) -> None:
        """Run a script of `peer_scripts` with settings; it prints its progress.

        Args:
            script: its file name.
            settings: what it reads as JSON.
            folder: where settings and log are written.

        Raises:
            BenchmarkError: it failed; names the log.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(script).stem
        arguments, log = folder / f"{name}.settings.json", folder / f"{name}.log"
        arguments.write_text(json.dumps(settings, indent=1))
        with log.open("ab") as errors:
            command = [str(self._python()), str(SCRIPTS / script), str(arguments)]
            status = subprocess.run(command, env=self._variables(), cwd=folder, stderr=errors, check=False).returncode
        if status != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise BenchmarkError(f"{script} failed with {status}; the last line of {log} is: {lines[-1]}")

    def _python(self) -> Path:
        return self._given or self._env / "bin" / "python"

    def _variables(self) -> dict[str, str]:
        """Return an environment in which nothing is sent, fetched, installed or written to the user's home."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "YOLO"))}
        return kept | {
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "XDG_CACHE_HOME": str(self._home),
            "MPLCONFIGDIR": str(self._home),
            "YOLO_CONFIG_DIR": str(self._home),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "YOLO_VERBOSE": "false",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def _furnish_home(self) -> None:
        """Write the settings, and the font that Ultralytics would ask the network for though it draws nothing."""
        folder = self._home / "Ultralytics"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(_SETTINGS))
        code = "import matplotlib as m; print(m.get_data_path() + '/fonts/ttf/DejaVuSans.ttf')"
        font = Path(self._call([str(self._python()), "-c", code], capture=True).strip())
        for name in ("Arial.ttf", "Arial.Unicode.ttf"):
            (folder / name).write_bytes(font.read_bytes())

    def _call(self, command: list[str], *, capture: bool = False) -> str:
        output = subprocess.PIPE if capture else None
        variables = self._variables() if capture else None  # pip needs the user's own settings
        done = subprocess.run(command, env=variables, stdout=output, check=False, text=True)
        if done.returncode != 0:
            raise BenchmarkError(f"the peer's environment: this failed with {done.returncode}: {' '.join(command)}")
        return done.stdout or ""
