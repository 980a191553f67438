"""What ``mlflow.yml`` says."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unlearnable.errors import InputError, wrong_setting

SQLITE = "sqlite:///"


class TrackingSettings(BaseModel):
    """The values of ``mlflow.yml``; that file explains each."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    tracking_uri: Annotated[str, Field(min_length=1)] | None
    experiment: Annotated[str, Field(min_length=1)]
    system_metrics: bool
    records: str
    wait_s: Annotated[float, Field(ge=0)]

    @classmethod
    def of(cls, values: dict[str, Any], project: Path) -> "TrackingSettings":
        """Return the settings, with paths that start at the project.

        Raises:
            InputError: a value is missing, of a wrong type, or of no known name.
        """
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise InputError("; ".join(wrong_setting("mlflow.yml", problem) for problem in error.errors())) from None
        uri = settings.tracking_uri and _uri(settings.tracking_uri, project)
        places = {"tracking_uri": uri, "records": str(project / settings.records)}
        return settings.model_copy(update=places)


def _uri(uri: str, project: Path) -> str:
    file = uri.removeprefix(SQLITE)
    return f"{SQLITE}{project / file}" if uri.startswith(SQLITE) and not file.startswith("/") else uri
