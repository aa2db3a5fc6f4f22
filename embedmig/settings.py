"""embedmig.toml and EMBEDMIG_* as one frozen object; the environment wins, an unknown key is an error that names it."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from embedmig.errors import SettingsError
from embedmig.trigger_settings import RolloutSettings, TriggerSettings

FILE = "embedmig.toml"
_ACTIVE_INDEX = "EMBEDMIG_ACTIVE_INDEX"


def _ascending_to_100(steps: tuple[float, ...]) -> tuple[float, ...]:
    if not steps or steps[0] <= 0 or steps[-1] != 100 or list(steps) != sorted(set(steps)):
        raise ValueError("the steps ascend from above 0 to 100, such as [5, 25, 50, 100]")
    return steps


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Steps = Annotated[tuple[float, ...], AfterValidator(_ascending_to_100)]


class Settings(BaseSettings):
    """Every setting, its unit in its name."""

    model_config = SettingsConfigDict(env_prefix="EMBEDMIG_", toml_file=FILE, extra="forbid", frozen=True)

    database_url: SecretStr | None = None
    """postgresql://...; unset: the embedded server in ``data_dir``."""
    data_dir: Path = Path(".embedmig")
    """Where the embedded server and models made by the demo are kept."""
    cache_dir: Path = Path(".embedmig/cache")
    """Where validate and compare keep vectors of texts between runs, by hashes of the texts. Deleting it is safe."""
    alembic_ini: Path | None = None
    """The user's own Alembic environment, where expand writes its revision. Unset: alembic.ini beside embedmig.toml."""
    active_index: str = "auto"
    """old, new, auto or a slot's name."""

    lock_timeout_s: Positive = 2.0
    lock_attempts: Annotated[int, Field(ge=1)] = 6

    tail_share: Share = 0.001
    """complete: at most this share of the rows may be queued ..."""
    tail_rows: Annotated[int, Field(ge=0)] = 1000
    """... and at most so many, ..."""
    tail_always_rows: Annotated[int, Field(ge=0)] = 10
    """... though so many always may, ..."""
    tail_age_s: Positive = 60.0
    """... and none older than this."""

    pass_overlap: Share = 0.80
    investigate_overlap: Share = 0.70
    quality_margin: Share = 0.01
    """validate: so much less nDCG@10 than before is taken for none."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """validate: how often an interval holds the truth."""
    stratum_queries: Annotated[int, Field(ge=2)] = 20
    """validate: a label with fewer queries is shown and does not decide."""
    validation_memory_mb: Annotated[int, Field(ge=16)] = 512
    """validate: what the exact search may take beside its result."""
    rollout_steps: Steps = (5.0, 25.0, 50.0, 100.0)
    """Shares in percent: what rollout --auto walks, and of what rollout says that it was skipped."""
    hold_hours: Annotated[float, Field(ge=0)] = 48.0
    """How long a share is held before it may rise again."""
    rollout: RolloutSettings = Field(default_factory=RolloutSettings)
    """What rolls a share back by itself: ``[rollout.triggers]``."""
    stability_days: Annotated[float, Field(ge=0)] = 7.0
    """How long the stored route must have been at 100 before contract."""
    guard_rows: Annotated[int, Field(ge=0)] = 20
    """So many rows that the application wrote are compared with the model's a minute, slot and guard; 0: none."""
    quiet_hours: Annotated[float, Field(ge=0)] = 24.0
    """How long nothing may have been answered from the source before contract."""
    audit_cosine: Share = 0.999

    batch_aim_s: Positive = 1.0
    """reembed --batch-size auto: how long writing a batch is to take."""
    throttle_every_s: Positive = 5.0
    """reembed --throttle: how often it asks whether the database suffers."""
    throttle_longest_s: Positive = 600.0
    """After so long it lets one batch through all the same, and goes on waiting."""
    throttle_replica_lag_s: Positive = 30.0
    throttle_running_queries: Annotated[int, Field(ge=0)] = 50
    throttle_wal_files: Annotated[int, Field(ge=0)] = 100
    throttle_retained_mb: Positive = 4096.0
    throttle_vacuum: bool = True
    """Wait while a vacuum is at work on the table."""
    throttle_dead_share: Share = 0.25
    throttle_canary_factor: Annotated[float, Field(ge=1)] = 2.0
    throttle_sql: str | None = None
    """A query of one's own: wait while it answers true, a number above 0, or a text."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(folder: Path | None = None, *, overrides: Mapping[str, object] | None = None) -> Settings:
    """Reads embedmig.toml of ``folder`` (the present one by default); the environment wins, ``overrides`` over both.

    Raises SettingsError that names the file or variable, the key, and what is wrong with it.
    """
    _refuse_unknown_variables(os.environ)
    path = (folder or Path.cwd()) / FILE
    _refuse_unreadable(path)

    class _Here(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return _Here(**dict(overrides or {}))  # type: ignore[arg-type]
    except ValidationError as exc:
        raise SettingsError("; ".join(_say(error, path) for error in exc.errors(include_input=False))) from None
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path} is not valid TOML: it is not written in UTF-8 ({exc.reason})") from exc
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{path} is not valid TOML: {exc}") from exc


def _refuse_unreadable(path: Path) -> None:
    """What is not a file would be passed over in silence, and its settings with it."""
    if not os.path.lexists(path):
        return
    if path.exists() and not path.is_file():
        raise SettingsError(f"{path} is no file: move it away, embedmig's settings are read from there")
    try:
        path.open("rb").close()
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}") from exc


def _say(error: Mapping[str, object], path: Path) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location) if isinstance(location, tuple) else str(location)
    if error["type"] == "extra_forbidden":
        known = TriggerSettings if key.startswith("rollout.triggers.") else Settings
        return f"{path}: unknown setting {key}; the settings are {', '.join(sorted(known.model_fields))}"
    variable = f"EMBEDMIG_{key.upper()}"
    where = variable if variable in os.environ else str(path)
    return f"{where}: {key}: {str(error['msg']).lower()}"


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {f"EMBEDMIG_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith("EMBEDMIG_") and name not in known and not name.startswith(_ACTIVE_INDEX + "_"):
            raise SettingsError(
                f"unknown variable {name}; the variables are {', '.join(sorted(known))}"
                f" and {_ACTIVE_INDEX}_<COLLECTION>"
            )


def database_url(settings: Settings) -> str:
    """The server that the settings name, the embedded one (started here) when they name none."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    from embedmig.db.embedded import start_embedded

    return start_embedded(settings.data_dir)
