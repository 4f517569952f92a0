"""An import-linter contract: the rooms of a capability and who may enter which (CONTRIBUTING.md)."""

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

# Which rooms a room may use in its own capability; a file of another name is a part one of them was split into.
_OWN = {
    "rules": {"rules"},
    "tables": {"tables"},
    "queries": {"tables", "rules", "queries", "part"},
    "commands": {"rules", "tables", "queries", "commands", "part"},
    "part": {"rules", "tables", "queries", "commands", "part"},
    "api": {"commands", "queries", "rules", "part"},
    "handlers": {"commands", "queries", "rules", "part"},
}
# Which rooms of another capability it may use: its use cases and reads, never its tables.
_OTHER = {
    "rules": {"rules"},
    "tables": set(),
    "queries": {"queries", "rules"},
    "commands": {"commands", "queries", "rules"},
    "part": {"commands", "queries", "rules"},
    "api": {"commands", "queries", "rules"},
    "handlers": {"commands", "queries", "rules"},
}
_PURE_LIBRARIES = frozenset({"numpy"}) | sys.stdlib_module_names


class RoomsContract(Contract):
    """Every import between rooms of these services is one the table above allows; rules stay pure."""

    services = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Check all imports of the services' capabilities."""
        found = []
        for service in self.services:  # type: ignore[attr-defined]
            capabilities = {c.rsplit(".", 1)[-1] for c in graph.find_children(service) if graph.find_children(c)}
            capabilities.discard("migrations")
            for module in sorted(graph.find_descendants(service)):
                _, capability, *rest = module.split(".")
                if capability in capabilities and rest:
                    found += [
                        f"{module} must not import {imported}"
                        for imported in sorted(graph.find_modules_directly_imported_by(module))
                        if not _allowed(service, capability, _room(rest[0]), imported, capabilities)
                    ]
        if verbose:
            output.print(f"{len(found)} forbidden imports")
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each forbidden import."""
        for line in check.metadata["found"]:
            output.print_error(line)


def _room(name: str) -> str:
    return name if name in _OWN else "part"


def _allowed(service: str, capability: str, room: str, imported: str, capabilities: set[str]) -> bool:
    root, *rest = imported.split(".")
    if root != service:
        return room != "rules" or root in _PURE_LIBRARIES
    if not rest or rest[0] not in capabilities:
        return room != "rules"
    if len(rest) == 1:
        return False
    target = _room(rest[1])
    return target in (_OWN if rest[0] == capability else _OTHER)[room]
