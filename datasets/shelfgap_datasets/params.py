"""The parameters of the dataset stages: sections of params.yaml, frozen, complete, nothing unknown."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Zoom = Annotated[float, Field(gt=0)]
_LEAST_HOURS = 4  # that a shelf-day is open


class Section(BaseModel):
    """A section of params.yaml: frozen, no unknown keys, no defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitParams(Section):
    """Shares of the groups that go to validation and test; the rest is training."""

    val_fraction: Fraction
    test_fraction: Fraction
    salt: str  # changes the whole assignment; never change it for a dataset in use


class DuplicateParams(Section):
    """When two images count as the same scene."""

    max_hash_distance: Annotated[int, Field(ge=0, le=63)]  # bits that may differ between perceptual hashes
    max_turned_distance: Annotated[int, Field(ge=0, le=63)]  # the same for the middle of a picture that was turned


class SynthParams(Section):
    """The synthetic shelf generator."""

    count: Annotated[int, Field(gt=0)]
    seed: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=64)]
    width: Annotated[int, Field(ge=64)]
    shelves_per_scene: Annotated[int, Field(gt=0)]  # stills that share one fixture, camera and group
    products: str | None  # a folder of product pictures; else procedural packages


class ShelfDayParams(Section):
    """Days before one fixed camera each."""

    days: Annotated[int, Field(gt=0, le=999)]
    seed: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=64)]
    width: Annotated[int, Field(ge=64)]
    open_hour: Annotated[int, Field(ge=1, le=22)]
    close_hour: Annotated[int, Field(ge=2, le=23)]
    minutes_per_frame: Annotated[float, Field(gt=0)]
    demand: Annotated[float, Field(gt=0)]  # 1 for an ordinary day
    products: str | None  # as for stills

    @model_validator(mode="after")
    def _leaves_time_to_restock(self) -> Self:
        if self.close_hour - self.open_hour < _LEAST_HOURS:
            raise ValueError(
                f"close_hour must be at least {_LEAST_HOURS} hours after open_hour, got {self.open_hour} and "
                f"{self.close_hour}: clerks come twice in between"
            )
        return self


class DatasetParams(Section):
    """Where the dataset comes from and how its classes are named."""

    source: str  # a folder: the synthetic default, or any importable source
    license: str | None  # for sources that do not state one themselves
    consent: str | None  # the same for the consent basis, a key of schema.CONSENT_BASES
    class_aliases: dict[str, list[str]]  # our class -> names in sources, compared case-insensitively
    split: SplitParams
    duplicates: DuplicateParams


class AugmentParams(Section):
    """Strength of the training augmentation (see `transforms`)."""

    gap_growth_epochs: Annotated[int, Field(ge=0)]  # the first ones with labels, in which gaps are grown
    gap_growth_probability: Fraction
    mosaic_probability: Fraction
    flip_probability: Fraction
    scale: tuple[Zoom, Zoom]  # zoom factor, drawn uniformly, each axis on its own
    translate: Fraction  # share of the image size
    rotate_degrees: Annotated[float, Field(ge=0, le=45)]
    shear_degrees: Annotated[float, Field(ge=0, le=45)]
    colour_probability: Fraction
    degrade_probability: Fraction  # blur, noise or JPEG, as a cheap camera would
    min_visibility: Fraction  # what is left of a box, if less of its area, is no box any more
