"""The tree keeps its promises: no circles, who knows of whom, one meaning per name."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("steervit", "anomaly")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# Names that two files share because each is its package's own of the same thing. Keep this short.
TWICE = {
    "camera": {"steervit/nano/scenes/camera.py", "anomaly/commands/camera.py"},  # a rendered one, a real one
    "export": {"anomaly/commands/export.py", "steervit/training/export.py"},  # an inspection, a trained model
    "loop": {"anomaly/runs/loop.py", "steervit/training/loop.py"},  # over images, over steps
    "profile": {"anomaly/decision/profile.py", "anomaly/commands/profile.py"},  # the same
    "prompts": {"anomaly/prompts.py", "anomaly/commands/prompts.py"},  # a command is called as what it shows
    "run": {"anomaly/evaluation/run.py", "steervit/training/run.py"},  # one from beginning to end
    "vectors": {
        "steervit/inference/vectors.py",
        "anomaly/commands/vectors.py",
    },  # a command is called as what it makes
    "trunk": {"steervit/modeling/trunk.py", "steervit/nano/trunk.py"},  # any, and nano's
}

# Files of steervit/ that speak of what is rendered, and of nano's training on it. Nothing else does.
ABOUT_DEFECTS = ("steervit/nano/", "steervit/training/data/sources/rendered.py")


def imported(path, module):
    """The modules that a file imports when it is loaded itself: not in functions, not for types only."""
    found = set()
    todo = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            todo += [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path, module)
            parts = {f"{base}.{one.name}" for one in node.names} & FILES.keys()
            found |= (
                parts if len(parts) == len(node.names) else parts | {base}
            )  # a package's modules, or its own
    return {name for name in found if name in FILES and name != module}


def _absolute(node, path, module):
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def every_import(path):
    """The top-level names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.split(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]


def circle(graph):
    """A circle of a graph, or None: a depth-first walk that meets what it has not left."""
    done, path = set(), []

    def walk(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        found = next((found for other in sorted(graph[name]) if (found := walk(other))), None)
        path.pop()
        done.add(name)
        return found

    return next((found for name in sorted(graph) if (found := walk(name))), None)


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_no_circles_between_files():
    graph = {module: imported(path, module) for module, path in FILES.items()}
    assert sum(map(len, graph.values())) > 100  # the walk sees imports at all
    found = circle(graph)
    assert found is None, " -> ".join(found)


def test_steervit_never_imports_anomaly():
    offenders = [
        name
        for name, path in FILES.items()
        if name.startswith("steervit") and "anomaly" in every_import(path)
    ]
    assert offenders == []


@pytest.mark.parametrize("word", ["anomal", "defect"])
def test_steervit_has_never_heard_of_anomalies(word):
    offenders = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for name, path in FILES.items()
        if name.startswith("steervit") and not path.relative_to(ROOT).as_posix().startswith(ABOUT_DEFECTS)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(word, line.replace("steer-anomaly", ""), re.IGNORECASE)
    ]
    assert offenders == [], "\n".join(offenders)


def test_a_name_means_one_thing():
    stems = Counter(path.stem for path in FILES.values() if path.stem not in ("__init__", "__main__"))
    twice = {
        stem: {path.relative_to(ROOT).as_posix() for path in FILES.values() if path.stem == stem}
        for stem, count in stems.items()
        if count > 1
    }
    assert twice == TWICE


def test_there_is_no_drawer_for_everything():
    assert not {"utils", "util", "helpers", "misc", "common"} & {path.stem for path in FILES.values()}
