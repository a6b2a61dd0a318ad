"""The one loader of params.yaml: every value that changes an artefact."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from shelfgap_datasets.params import DatasetParams, Section, ShelfDayParams, SynthParams
from shelfgap_edge.errors import ShelfgapError
from shelfgap_export.params import BenchParams, BundleParams, GateParams, ParityParams, QuantizeParams
from shelfgap_training.params import EvaluationParams, ModelParams, MonitorSection, Preset, TimelineParams, TrainParams

from shelfgap_flows.search_space import SearchSpaceError, SweepParams, require_searchable

PARAMS_FILE = "params.yaml"


# DVC reads a dot in it as a path, and MLflow cannot look for a quote
PresetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class ParamsError(ShelfgapError):
    """params.yaml is missing or wrong."""


class Params(Section):
    """All sections of params.yaml."""

    dataset: DatasetParams
    synth: SynthParams
    shelf_day: ShelfDayParams
    preset: str
    presets: dict[PresetName, Preset]
    sweep: SweepParams
    quantize: QuantizeParams
    parity: ParityParams
    evaluation: EvaluationParams
    bench: BenchParams
    gate: GateParams
    bundle: BundleParams
    monitor: MonitorSection
    timeline: TimelineParams

    @model_validator(mode="after")
    def _preset_exists(self) -> Self:
        if self.preset not in self.presets:
            raise ValueError(f"preset {self.preset!r} is none of presets ({', '.join(self.presets)})")
        return self

    @model_validator(mode="after")
    def _space_is_of_the_preset(self) -> Self:
        try:
            require_searchable(self.presets[self.preset], self.sweep)
        except SearchSpaceError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def model(self) -> ModelParams:
        """The network of the chosen preset."""
        return self.presets[self.preset].model

    @property
    def train(self) -> TrainParams:
        """The recipe of the chosen preset."""
        return self.presets[self.preset].train

    def with_preset(self, name: str) -> Params:
        """Return the same parameters with another preset chosen.

        Raises:
            ParamsError: there is none of that name.
        """
        if name not in self.presets:
            raise ParamsError(f"no preset {name!r} in {PARAMS_FILE}, it has {', '.join(self.presets)}")
        return self.model_copy(update={"preset": name})


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: no such file, not YAML, or a key missing, unknown, twice or out of range; names the first ones.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))  # as DVC reads it: no key twice
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; start in a workspace, or name one with --workspace") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ParamsError(f"{path}: cannot be read ({_in_one_line(error)})") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:3]]
        more = f" and {error.error_count() - 3} more" if error.error_count() > 3 else ""
        raise ParamsError(f"{path}: {'; '.join(problems)}{more}") from None


def _in_one_line(error: Exception) -> str:
    """Say what is wrong and where; ruamel.yaml also quotes the text, and explains itself."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}: {problem}"


def workspace_params(root: Path) -> Params:
    """Load the params.yaml of a folder, else the defaults that come with the package.

    Raises:
        ParamsError: there is no such folder; and see `load_params`.
    """
    if not root.is_dir():
        raise ParamsError(f"{root}: no such folder; --workspace takes one with a {PARAMS_FILE}")
    path = root / PARAMS_FILE
    return load_params(path) if path.exists() else default_params()


def default_params() -> Params:
    """Return the defaults that come with the package."""
    with resources.as_file(resources.files("shelfgap_flows") / "template" / PARAMS_FILE) as template:
        return load_params(template)


def params_hash(*sections: BaseModel) -> str:
    """Return the SHA-256 (hex) of sections, independent of layout and comments."""
    values = [section.model_dump(mode="json") for section in sections]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
