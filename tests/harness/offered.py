"""A contract for import-linter: from outside, only modules in the `__all__` of a feature are used."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OfferedContract(Contract):
    """`floors`: packages whose subpackages are features, such as zborg.steps."""

    floors = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Each import from outside of a feature, of a module that it does not offer, is reported."""
        floors: list[str] = list(self.floors)  # type: ignore[call-overload]  # a field at class level
        refused = [
            f"{importer} uses {module}, which is not in {feature}.__all__"
            for floor in floors
            for feature in sorted(graph.find_children(floor))
            for module in sorted(graph.find_children(feature))
            if module.rpartition(".")[2] not in offered(feature)
            for importer in sorted(graph.find_modules_that_directly_import(module))
            if not importer.startswith(f"{feature}.")
        ]
        return ContractCheck(kept=not refused, metadata={"refused": refused})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import that is refused."""
        for line in check.metadata["refused"]:
            output.print_error(line)


def offered(package: str) -> frozenset[str]:
    """The names in the package's `__all__`, read without importing it; none when it has no such line."""
    spec = find_spec(package.rpartition(".")[0])
    places = (
        [
            Path(place, package.rpartition(".")[2], "__init__.py")
            for place in spec.submodule_search_locations or ()
        ]
        if spec
        else []
    )
    for statement in ast.parse(places[0].read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(statement.value))
    return frozenset()
