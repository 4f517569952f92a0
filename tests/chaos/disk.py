"""A small disk of its own for a server, so that it can be full without harm to anybody else."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Kafka keeps its indexes at full size; PostgreSQL keeps its log in files of 16 MB.
DISK_BYTES = 2 * 1024**3
# Room is taken in large pieces first, in single blocks last.
_FILL_STEPS = (64 * 1024**2, 1024**2, 4096)


def why_not() -> str | None:
    """Why no disk can be mounted here; None when it can."""
    if os.geteuid() != 0:
        return "only root can mount a disk"
    if missing := [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not found"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(Path(folder), ["probe"], 16 * 1024**2))
        except subprocess.CalledProcessError as error:
            return f"no loop device can be mounted: {error.stderr.strip()}"
    return None


class Disk:
    """A mounted disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave not one byte free."""
        end = 0
        with self._filler.open("wb") as file:
            for step in _FILL_STEPS:
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), end, step)
                        end += step

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(state: Path, names: Sequence[str], size: int = DISK_BYTES) -> Iterator[dict[str, Disk]]:
    """A disk for each name, at which a link of that name in the state folder points."""
    disks: dict[str, Disk] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            folder, image = state / "disks" / name, state / "disks" / f"{name}.img"
            folder.mkdir(parents=True)
            with image.open("wb") as file:
                file.truncate(size)
            _run("mkfs.ext4", "-q", "-m", "0", "-F", str(image))
            _run("mount", "-o", "loop", str(image), str(folder))
            stack.callback(_unmount, folder, image)
            (state / name).symlink_to(folder / "data")
            disks[name] = Disk(folder)
        yield disks


def _unmount(folder: Path, image: Path) -> None:
    _run("umount", "--lazy", str(folder))
    image.unlink()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
