"""The Java archives Apache Kafka needs, fetched by Maven coordinates and checked against a committed lock.

`python -m devkit.platform.jars` resolves the coordinates below afresh and rewrites the lock.
"""

import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from devkit.platform.errors import PlatformError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.1"
_LOCK_FILE = Path(__file__).with_name("kafka-jars.lock.json")

_BROKER = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# kafka-tools alone: its own dependencies are Kafka Connect and a web server, which no console tool we run needs.
_ALONE = (f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
_ATTEMPTS = 4
_PARALLEL_DOWNLOADS = 8


def cache_folder() -> Path:
    """The per-user folder in which every checkout finds the same archives."""
    return Path(platformdirs.user_cache_dir("orderloop")) / f"kafka-{KAFKA_VERSION}"


def ensure_jars() -> list[Path]:
    """Return the locked archives, downloading those that are missing or damaged.

    Raises PlatformError when one cannot be downloaded or does not have its locked SHA-256.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        return list(pool.map(lambda entry: _ensure(folder, *entry), _locked().items()))


def jars_missing() -> bool:
    """Whether `ensure_jars` will have to download."""
    return not all(_file(cache_folder(), coordinate).exists() for coordinate in _locked())


def _locked() -> dict[str, str]:
    """SHA-256 by `group:artifact:version`."""
    return dict(json.loads(_LOCK_FILE.read_text()))


def _file(folder: Path, coordinate: str) -> Path:
    _, artifact, version = coordinate.split(":")
    return folder / f"{artifact}-{version}.jar"


def _ensure(folder: Path, coordinate: str, sha256: str) -> Path:
    target = _file(folder, coordinate)
    if target.exists() and _sha256(target) == sha256:
        return target
    # A folder of its own per download, then one rename: several checkouts may fetch into the cache at once.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        downloaded = _download(coordinate, Path(scratch))
        if (actual := _sha256(downloaded)) != sha256:
            raise PlatformError(f"{coordinate}: SHA-256 is {actual}, the lock says {sha256}; refusing to use it")
        os.replace(downloaded, target)
    return target


def _download(coordinate: str, scratch: Path) -> Path:
    from requests import RequestException  # noqa: PLC0415  (see _maven)

    group, artifact, version = coordinate.split(":")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            context = _maven(scratch / str(attempt))
            return context.project(group, artifact).at_version(version).artifact().resolve()
        except (RequestException, RuntimeError, OSError) as error:
            if attempt == _ATTEMPTS:
                raise PlatformError(f"cannot download {coordinate}: {error}") from error
            time.sleep(attempt)
    raise AssertionError("unreachable")


def _maven(repo_cache: Path) -> "MavenContext":
    # Imported here: every start checks the archives, only the first one downloads and pays for the import.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    mirrors = GlobalSettings.load().repositories
    return MavenContext(repo_cache=repo_cache, remote_repos=mirrors or None, timeout=60)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def relock() -> dict[str, str]:
    """Resolve the coordinates and rewrite the lock: `group:artifact:version` to SHA-256."""
    with tempfile.TemporaryDirectory() as scratch:
        context = _maven(Path(scratch))
        inputs, transitive = context.resolver.resolve([context.create_dependency(_BROKER)])
        coordinates = {f"{d.groupId}:{d.artifactId}:{d.version}" for d in [*inputs, *transitive]}
        coordinates |= set(_ALONE)
        with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
            ordered = sorted(coordinates)
            sums = pool.map(lambda c: _sha256(_download(c, Path(scratch) / c.replace(":", "_"))), ordered)
            locked = dict(zip(ordered, sums, strict=True))
    _LOCK_FILE.write_text(json.dumps(locked, indent=1) + "\n")
    return locked


if __name__ == "__main__":
    relock()
