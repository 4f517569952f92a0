"""The generated files: what they should hold, what they do hold."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from schema_tools import asyncapi, catalogue, services
from schema_tools.jsonschemas import published_schemas

ROOT = Path(__file__).parents[3]
JSON_SCHEMAS = Path("schemas/jsonschema")
RELEASED = Path("schemas/released")
EXAMPLES = Path("schemas/examples")
OPENAPI = Path("schemas/openapi")


@cache
def generated() -> dict[Path, str]:
    """Every generated file and its content, by path below the repository's root."""
    consumers = services.consumers()
    return {
        **{JSON_SCHEMAS / f"{name}.json": text(schema) for name, schema in published_schemas().items()},
        **{OPENAPI / f"{name}.json": services.openapi(name) for name in services.NAMES},
        Path("schemas/asyncapi.yaml"): asyncapi.document(consumers),
        Path("docs/event-catalogue.md"): catalogue.document(consumers),
    }


def stale(root: Path = ROOT) -> list[Path]:
    """Generated files that are missing, differ, or should not be there."""
    wanted = generated()
    differing = [path for path, content in wanted.items() if _content(root / path) != content]
    return sorted([*differing, *_left_over(root, wanted)])


def write(root: Path = ROOT) -> list[Path]:
    """Bring the generated files up to date; returns those that changed."""
    wanted = generated()
    changed = stale(root)
    for path in changed:
        if path in wanted:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(wanted[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def released(root: Path = ROOT) -> dict[str, Any]:
    """The schemas of the last release, by event type."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((root / RELEASED).glob("*.json"))
    }


def release(root: Path = ROOT) -> None:
    """Make the present schemas the released ones."""
    (root / RELEASED).mkdir(parents=True, exist_ok=True)
    for name, schema in published_schemas().items():
        (root / RELEASED / f"{name}.json").write_text(text(schema), encoding="utf-8")


def examples(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Every hand-made example: its event type and its file."""
    for path in sorted((root / EXAMPLES).glob("*/*.json")):
        yield path.parent.name, path


def text(content: Any) -> str:
    """JSON as it is checked in."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _left_over(root: Path, wanted: dict[Path, str]) -> list[Path]:
    present = [path.relative_to(root) for folder in (JSON_SCHEMAS, OPENAPI) for path in (root / folder).glob("*.json")]
    return [path for path in present if path not in wanted]
