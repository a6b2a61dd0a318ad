"""What a sweep searches: the section `sweep` of params.yaml, and recipes with some values replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from shelfgap_datasets.params import Section
from shelfgap_edge.errors import ShelfgapError
from shelfgap_training.params import Preset

_SET_BY_SWEEP = {
    "train.epochs": "epochs",
    "train.imitation.epochs": "imitation_epochs",
    "train.validate_every_epochs": "validate_every_epochs",
}


class SearchSpaceError(ShelfgapError):
    """A key cannot be searched, or a value makes no recipe."""


class SearchRange(Section):
    """The bounds of one value, both included."""

    low: float
    high: float
    log: bool  # drawn evenly on a logarithmic scale

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, got {self.low:g}")
        return self


class SweepParams(Section):
    """How `shelfgap sweep` searches."""

    trials: Annotated[int, Field(ge=1)]
    random_trials: Annotated[int, Field(ge=1)]  # the first ones: drawn at random, never pruned
    epochs: Annotated[int, Field(ge=1)]  # of a trial
    imitation_epochs: Annotated[int, Field(ge=0)]  # of a trial before them, where the preset imitates
    validate_every_epochs: Annotated[int, Field(ge=1)]  # when a trial may be pruned
    seed: Annotated[int, Field(ge=0)]
    concurrency: Annotated[int, Field(ge=1)]  # trials at a time
    space: Annotated[dict[str, SearchRange], Field(min_length=1)]  # dotted key below a preset -> its bounds

    @model_validator(mode="after")
    def _last_epoch_is_validated(self) -> Self:
        if self.epochs % self.validate_every_epochs or self.imitation_epochs % self.validate_every_epochs:
            raise ValueError("epochs and imitation_epochs must be multiples of validate_every_epochs")
        return self


def trial_recipe(preset: Preset, sweep: SweepParams, values: Mapping[str, float]) -> Preset:
    """Return the recipe of a trial: some values of the preset replaced, its epochs those of the sweep.

    Raises:
        SearchSpaceError: see `with_values`.
    """
    epochs = {
        "train.epochs": sweep.epochs,
        "train.imitation.epochs": sweep.imitation_epochs if preset.train.imitation.epochs else 0,
        "train.validate_every_epochs": sweep.validate_every_epochs,
    }
    return with_values(preset, {**values, **epochs})


def with_values(preset: Preset, values: Mapping[str, float]) -> Preset:
    """Return a preset with the values at some dotted keys replaced.

    Raises:
        SearchSpaceError: a key that names no number, or a value that the recipe does not allow; names the key.
    """
    document = preset.model_dump()
    for key, value in values.items():
        value_at(preset, key)
        *above, last = key.split(".")
        section = document
        for name in above:
            section = section[name]
        section[last] = value
    try:
        return Preset.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or ", ".join(values)
        raise SearchSpaceError(f"sweep.space.{key}: {first['msg']}, got {values.get(key)!r}") from None


def value_at(preset: Preset, key: str) -> int | float:
    """Return the number at a dotted key.

    Raises:
        SearchSpaceError: there is none.
    """
    found: Any = preset.model_dump()
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise SearchSpaceError(f"sweep.space.{key}: names no number below the preset, such as train.learning_rate")
    return found


def require_searchable(preset: Preset, sweep: SweepParams) -> None:
    """Check that each key of the space exists, and that both its bounds make a recipe.

    Raises:
        SearchSpaceError: names the first key that does not.
    """
    for key, bounds in sweep.space.items():
        if key in _SET_BY_SWEEP:
            raise SearchSpaceError(f"sweep.space.{key}: the sweep sets it itself, with sweep.{_SET_BY_SWEEP[key]}")
        is_count = isinstance(value_at(preset, key), int)
        if is_count and not (bounds.low.is_integer() and bounds.high.is_integer()):
            raise SearchSpaceError(f"sweep.space.{key}: a count, its bounds must be whole numbers")
        for bound in (bounds.low, bounds.high):
            trial_recipe(preset, sweep, {key: int(bound) if is_count else bound})
