"""The settings in ``mlflow.yml``."""

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
    models: bool
    records: str
    wait_s: Annotated[float, Field(ge=0)]

    @classmethod
    def of(cls, values: dict[str, Any], project: Path) -> "TrackingSettings":
        """Return the settings; relative paths start at the project.

        Raises:
            InputError: a value is missing, unknown or of the wrong type, or the path of the database is a folder.
        """
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise InputError("; ".join(wrong_setting("mlflow.yml", problem) for problem in error.errors())) from None
        uri = settings.tracking_uri and _uri(settings.tracking_uri, project)
        if uri and uri.startswith(SQLITE) and database(uri).is_dir():
            raise InputError(f"mlflow.yml: 'tracking_uri': expected a file for the database, got the folder {database(uri)}")
        places = {"tracking_uri": uri, "records": str(project / settings.records)}
        return settings.model_copy(update=places)


def _uri(uri: str, project: Path) -> str:
    """Return the address of a server. The path of a database starts at the project, and is quoted as addresses require."""
    if not uri.startswith(SQLITE):
        return uri
    from sqlalchemy import make_url  # here, since it takes a while

    url = make_url(uri)
    return url.set(database=str(project / str(url.database))).render_as_string(hide_password=False)


def database(uri: str) -> Path:
    """Return the file that the address of a database names."""
    from sqlalchemy import make_url

    return Path(str(make_url(uri).database))
