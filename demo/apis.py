"""A static view of a package's public API: which dotted path names which definition.

A definition counts under the path people import it by. Names that an `__init__.py` takes
from private modules are followed to where they are written, so `numpy.mean` is found
although its source lies in a private folder.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from demo.sources import module_name, package_root, parse_file, python_files

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Node: TypeAlias = Function | ast.ClassDef

METHODS_PER_CLASS = 3
LEFT_OUT = re.compile(r"numpy\.distutils\b|transformers\..*\.modular_")
"""Public by name only: abandoned, or input of a code generator and never imported."""
MAX_HOPS = 8
"""Longest chain of re-exports followed; also what ends a circular one."""


@dataclass(frozen=True)
class Definition:
    """A function, class or method; `renamed` are the `import ... as` names it can see."""

    path: str
    node: Node
    is_method: bool
    renamed: frozenset[str]


@dataclass
class Scope:
    """What one module binds: its own definitions, and names imported as (module, name).

    `listed` is its `__all__`: None when absent, empty when it is computed and so unknown.
    """

    definitions: dict[str, Node] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    renamed: frozenset[str] = frozenset()
    listed: list[str] | None = None


class PackageApi:
    """The public API of one installed package, read lazily from its files."""

    def __init__(self, package: str) -> None:
        """List the package's modules; an absent package has none."""
        root = package_root(package)
        self._package = package
        files = python_files(root) if root else []
        self._files: dict[str, Path] = {module_name(root, path): path for path in files if root}
        self._scopes: dict[str, Scope] = {}

    def modules(self, rng: random.Random) -> list[str]:
        """Order the public modules: the root, its direct subpackages, then the others.

        Args:
            rng: Shuffles within each of these groups.
        """
        offered = [name for name in self._files if not LEFT_OUT.match(name)]
        public = [name for name in offered if is_public(name)]
        rng.shuffle(public)
        return sorted(public, key=self._depth_group)

    def is_package(self, module: str) -> bool:
        """Tell whether a module of this package is an `__init__.py`."""
        return self._files[module].name == "__init__.py"

    def definitions(self, module: str, rng: random.Random) -> Iterator[Definition]:
        """Yield a module's public definitions in random order.

        Args:
            module: One of `modules`; of a package, the names it takes from its own modules
                are included (those it takes from elsewhere are helpers it uses).
            rng: Orders the names and picks a few methods of each class.
        """
        scope = self._scope(module)
        names = sorted({*scope.definitions, *self._reexports(module)})
        rng.shuffle(names)
        for name in filter(is_public, names):
            found = self._find(module, name)
            if found:
                yield from _with_methods(f"{module}.{name}", *found, rng)

    def _reexports(self, module: str) -> list[str]:
        if not self.is_package(module):
            return []
        imports = self._scope(module).imports.items()
        return [name for name, (source, _) in imports if source.startswith(f"{module}.")]

    def _depth_group(self, module: str) -> int:
        return min(module.count("."), 1) if self.is_package(module) and module.count(".") < 2 else 2

    def _scope(self, module: str) -> Scope:
        if module not in self._scopes:
            self._scopes[module] = Scope()  # what a circular import sees meanwhile
            tree = parse_file(self._files[module]) if module in self._files else None
            if tree:
                self._scopes[module] = self._read(module, tree)
        return self._scopes[module]

    def _read(self, module: str, tree: ast.Module) -> Scope:
        imports: dict[str, tuple[str, str]] = {}
        renamed: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                target = self._target(module, node)
                imports.update(self._imported(target, node.names))
        for node in _statements(tree.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                renamed.update(alias.asname for alias in node.names if alias.asname)
            else:
                _forget(imports, node)
        definitions = unambiguous(tree.body)
        _drop_function_bodies(definitions.values())
        return Scope(definitions, imports, frozenset(renamed), _literal_all(tree))

    def _target(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        drop = node.level - (1 if self.is_package(module) else 0)
        kept = parts[: len(parts) - drop]
        return ".".join([*kept, node.module] if node.module else kept)

    def _imported(self, target: str, names: list[ast.alias]) -> dict[str, tuple[str, str]]:
        if target not in self._files:
            return {}
        if names[0].name == "*":
            return {name: (target, name) for name in self._star_names(target)}
        return {alias.asname or alias.name: (target, alias.name) for alias in names}

    def _star_names(self, module: str) -> list[str]:
        scope = self._scope(module)
        if scope.listed is not None:
            return scope.listed
        taken = scope.imports if self.is_package(module) else ()
        return [name for name in (*taken, *scope.definitions) if is_public(name)]

    def _find(self, module: str, name: str) -> tuple[Node, frozenset[str]] | None:
        for _ in range(MAX_HOPS):
            scope = self._scope(module)
            if name in scope.definitions:
                return scope.definitions[name], scope.renamed
            if name not in scope.imports:
                return None
            module, name = scope.imports[name]
        return None


def is_public(path: str) -> bool:
    """Tell whether no part of a dotted path starts with an underscore."""
    return not any(part.startswith("_") for part in path.split("."))


def unambiguous(body: list[ast.stmt]) -> dict[str, Node]:
    """Collect the definitions a module or class body surely binds.

    Args:
        body: Its statements.

    Returns:
        Definitions by name, except those under a condition and those whose name is bound
        again (overloads, property setters, later assignments, deletions): what such a name
        ends up meaning cannot be told without running the code.
    """
    bindings = Counter(name for node in _statements(body) for name in _bound(node))
    return {node.name: node for node in body if isinstance(node, Node) and bindings[node.name] == 1}


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if not isinstance(node, Node):
            nested = list(ast.iter_child_nodes(node))
            yield from _statements([child for child in nested if isinstance(child, ast.stmt)])
            for handler in nested:
                if isinstance(handler, ast.ExceptHandler):
                    yield from _statements(handler.body)


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Node):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete):
        targets = [node.target] if not hasattr(node, "targets") else node.targets
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _forget(imports: dict[str, tuple[str, str]], node: ast.stmt) -> None:
    if not isinstance(node, Node):
        for name in _bound(node):
            imports.pop(name, None)


def _literal_all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            try:
                return [str(name) for name in ast.literal_eval(node.value)]
            except ValueError:
                return []
    return None


def _drop_function_bodies(definitions: Iterable[Node]) -> None:
    for node in definitions:
        if isinstance(node, Function):
            node.body = []
        else:
            _drop_function_bodies(child for child in node.body if isinstance(child, Node))


def _with_methods(
    path: str, node: Node, renamed: frozenset[str], rng: random.Random
) -> Iterator[Definition]:
    yield Definition(path, node, False, renamed)
    if not isinstance(node, ast.ClassDef):
        return
    found = unambiguous(node.body)
    methods = [n for name, n in found.items() if is_public(name) and isinstance(n, Function)]
    for method in rng.sample(methods, min(METHODS_PER_CLASS, len(methods))):
        yield Definition(f"{path}.{method.name}", method, True, renamed)
