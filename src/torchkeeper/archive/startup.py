"""Which archives a start loads: those of the configuration and the command line, or those of a snapshot."""

from __future__ import annotations

from torchkeeper.archive.remote_store import archives_in
from torchkeeper.archive.store import find_at_start, stored_names
from torchkeeper.config.model_snapshot import VersionSnapshot
from torchkeeper.config.settings import Settings, named_url
from torchkeeper.errors import SettingsError


def startup_models(settings: Settings) -> list[tuple[str | None, str]]:
    """The start-up models as (name or None, archive), each once, with `all` spelled out from the model store.

    None when a snapshot says what is loaded (`snapshot_models`).
    Source: TorchServe's --models forms: `a.mar`, `name=a.mar`, commas or blanks between, or `all`.

    Raises:
        DownloadFailed: the store is a folder of a bucket, and does not tell what it has.
    """
    if settings.model_snapshot is not None:
        return []
    wanted = settings.load_models
    if len(wanted) == 1 and wanted[0].lower() == "all":
        names = archives_in(settings.store_url) if settings.store_url else stored_names(settings.store)
        return [(None, name) for name in names]
    return list(dict.fromkeys(map(named_url, wanted)))


def snapshot_models(settings: Settings) -> tuple[VersionSnapshot, ...]:
    """The versions that the configuration's snapshot names, in its order; none without a snapshot.

    Raises:
        SettingsError: an archive is not in the model store: as in TorchServe the server must not start.
    """
    snapshot = settings.model_snapshot
    if snapshot is None:
        return ()
    if settings.store_url is not None:
        return snapshot.versions
    store = settings.model_store
    origin = settings.origins["model_snapshot"]
    for version in snapshot.versions:
        if store is None or find_at_start(store, version.mar_name) is None:
            raise SettingsError(
                f"Model archive file for model :{version.name}, version :{version.version} not found "
                f"in model store: no {version.mar_name} in {store} ({origin.source})"
            )
    return snapshot.versions
