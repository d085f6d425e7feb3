"""What the environment says: HPSEARCH_* variables over defaults, read once."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hpsearch.exceptions import InvalidSetting, NoHome

_PREFIX = "HPSEARCH_"
_SECONDS = "a number of seconds above 0"


def _data_dir() -> Path:
    # Postgres never runs as root, and the account it runs as instead cannot enter /root.
    if os.geteuid() == 0:
        return Path("/var/lib/hpsearch")
    try:
        folder = platformdirs.user_data_path("hpsearch")
    except RuntimeError:  # newer releases of platformdirs; older ones return a relative path
        raise NoHome() from None
    if not folder.is_absolute():
        raise NoHome()
    return folder


class Settings(BaseSettings):
    """The settings; a field `name` is read from `HPSEARCH_NAME`.

    Attributes:
      data_dir: folder of everything that this user keeps on this machine.
      storage: URL of the database; None for the file, else for the embedded server.
      storage_file: file that holds the URL.
      insecure_storage: whether a database on another host may be used without TLS.
      postgres_bin: folder of the Postgres programs; None to search this machine.
      lease_seconds: how long a run stays leased without a sign of its worker.
      sweep_seconds: grace after a lease's end before the run is given to another worker.
      renew_seconds: time between two renewals of a lease.
      db_wait_seconds: how long to wait for a database that does not answer.
      idle_seconds: how long a worker stays without work.
      min_free_gib: a worker takes no run while its data folder's disk has less, in GiB.
      max_attempts: attempts at one run before it is given up.
      start_seconds: how long a child may take until its training begins.
      grace_seconds: how long training may run past its budget before it is ended by force.
      eval_seconds: how long the evaluation after training may take.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    data_dir: Path = Field(default_factory=_data_dir, description="a folder")
    storage: SecretStr | None = Field(default=None, description="a Postgres URL")
    storage_file: Path | None = Field(default=None, description="a file")
    insecure_storage: bool = Field(default=False, description="true or false")
    postgres_bin: Path | None = Field(default=None, description="a folder")
    lease_seconds: float = Field(default=60.0, gt=0, description=_SECONDS)
    sweep_seconds: float = Field(default=15.0, gt=0, description=_SECONDS)
    renew_seconds: float = Field(default=10.0, gt=0, description=_SECONDS)
    db_wait_seconds: float = Field(default=60.0, gt=0, description=_SECONDS)
    idle_seconds: float = Field(default=30.0, gt=0, description=_SECONDS)
    min_free_gib: float = Field(default=5.0, ge=0, description="a number of GiB")
    start_seconds: float = Field(default=600.0, gt=0, description=_SECONDS)
    grace_seconds: float = Field(default=15.0, gt=0, description=_SECONDS)
    eval_seconds: float = Field(default=600.0, gt=0, description=_SECONDS)
    max_attempts: int = Field(default=3, ge=1, description="a whole number above 0")


@functools.cache
def settings() -> Settings:
    """Returns the settings, read at the first call.

    Raises:
      InvalidSetting: a variable's value cannot be read.
      NoHome: there is no folder for `data_dir`.
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0])
        raise InvalidSetting(
            name=_PREFIX + field.upper(),
            value=problem["input"],
            allowed=Settings.model_fields[field].description,
        ) from None
