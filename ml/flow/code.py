"""Functions of the user's own that a parameter names as `package.module:function`: their source and its digest.

Nothing here imports the code: it is found on Python's path and read as files.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import re
from pathlib import Path

NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
FAMILY = "transfer:"  # `ml.networks.table` has networks whose names look alike


def is_code(name: str) -> bool:
    """Return whether a name has the form `package.module:function` and is no network of the program's own."""
    return re.fullmatch(NAME, name) is not None and not name.startswith(FAMILY)


def code_digest(name: str) -> str:
    """Return the digest of the source that a function belongs to; empty if Python's path does not have it.

    It covers every Python file of the top-level package, or the one file of a top-level module. Other packages that it
    imports do not count.
    """
    root, files = _source(name)
    if not files:
        return ""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\n".encode() + content)
    return digest.hexdigest()


def missing(name: str) -> str | None:
    """Return what is missing of a function, as the end of a sentence; None if its module defines it."""
    module, _, function = name.partition(":")
    top, *inner = module.split(".")
    root, files = _source(name)
    if not files:
        return f"there is no package or module {top} on Python's path"
    path = root.joinpath(top, *inner)
    found = next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each in files), None)
    if found is None:
        return f"there is no module {module} in {root / top}"
    try:
        tree = ast.parse(found.read_bytes())
    except SyntaxError as error:
        return f"{found} is not Python: {error}"
    return None if function in _names(tree) else f"{found} defines no {function}"


def _source(name: str) -> tuple[Path, tuple[Path, ...]]:
    """Return the folder on Python's path that has a function's top-level package or module, and its files."""
    top = re.split(r"[.:]", name)[0]
    importlib.invalidate_caches()  # files may have been added since this process last looked
    spec = importlib.machinery.PathFinder.find_spec(top)
    if spec is None:
        return Path(), ()
    if spec.submodule_search_locations:
        package = Path(next(iter(spec.submodule_search_locations)))
        return package.parent, tuple(sorted(package.rglob("*.py")))
    origin = Path(spec.origin or "")
    return origin.parent, (origin,) if origin.suffix == ".py" else ()


def _names(tree: ast.Module) -> set[str]:
    """Return the names that a module binds by definitions, assignments and imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names
