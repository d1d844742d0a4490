"""What holds for the repository as a whole: floors, names, documents, start-up."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import isthmus
from isthmus import registry
from isthmus.associating.recipe import load_associate_recipe
from isthmus.imputing.recipe import load_impute_recipe
from isthmus.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RECIPES = sorted((ROOT / "examples").glob("*.yaml"))
SHARED = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
HEAVY = ("torch", "pandas", "anndata", "mudata", "scipy", "sklearn", "matplotlib", "lightning_fabric")
LONGEST_FILE, LONGEST_FUNCTION = 400, 40

needs_cli = pytest.mark.skipif(find_spec("isthmus.cli.__init__") is None, reason="there is no command line yet")


# Imported where a user has them (no extra installs them), or come with a package that is declared (pydantic).
NOT_DECLARED = {"atheris", "hyperimpute", "pydantic_core"}


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, as quiet and as plain as a user's."""
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has imported after some code, whatever the code raised."""
    probe = f"import sys, json, atexit\natexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n{code}"
    last = python(probe).stdout.strip().splitlines()[-1]
    return {name for name in json.loads(last) if name in HEAVY}


# ---- code


def imported(file: Path) -> set[str]:
    """The packages that a file imports anywhere, each by its first name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_what_is_imported_is_declared(folder):
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *(name for extra in extras.values() for name in extra)]
    declared = {re.match(r"[\w-]+", name).group().lower().replace("_", "-") for name in wanted}
    ours = {"isthmus"} | {path.stem for there in ("tests", "benchmarks") for path in (ROOT / there).rglob("*")}
    makers = packages_distributions()
    for file in sorted((ROOT / folder).rglob("*.py")):
        for name in imported(file) - ours - sys.stdlib_module_names - NOT_DECLARED:
            known = {maker.lower().replace("_", "-") for maker in makers.get(name, [name])}
            assert known & declared, f"{file.relative_to(ROOT)} imports {name}, which pyproject.toml does not name"


def test_floors_hold():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_library_code_never_prints():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if "cli" not in path.relative_to(ROOT / "src" / "isthmus").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []


def test_nothing_is_pickled():
    unsafe = r"torch\.save\(|torch\.load\((?!.*weights_only=True)"
    words = re.compile(rf"\b(import pickle|{unsafe}|joblib\.(dump|load)|allow_pickle=True)")
    assert [p.name for p in SOURCES if words.search(p.read_text(encoding="utf-8"))] == []


def test_no_file_is_too_long():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    assert {p: n for p, n in lengths.items() if n > LONGEST_FILE} == {}


def own_lines(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
    return (node.end_lineno or start) - start + 1


def test_functions_are_short():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {own_lines(node)} lines"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and own_lines(node) > LONGEST_FUNCTION
    ]
    assert long == []


# ---- names and documents


def public_names() -> list[str]:
    return sorted([*isthmus.__all__, *registry.public_names()])


@pytest.mark.parametrize("name", public_names())
def test_a_public_name_resolves_and_stands_in_the_docs(name):
    assert getattr(isthmus, name) is not None
    assert re.search(rf"(heading: |^## |`)ist\.{re.escape(name)}\b", text("docs/api.md"), re.MULTILINE)


@pytest.mark.parametrize("name", registry.names())
def test_an_architecture_has_a_page(name):
    assert f"architecture: {name} -->" in text(f"docs/architectures/{name}.md")
    assert f"architectures/{name}.md" in text("mkdocs.yml")


def test_every_page_is_in_the_navigation():
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert {p for p in pages if p not in text("mkdocs.yml")} == set()


def test_modules_named_in_the_docs_exist():
    named = re.findall(r"^::: ([\w.]+)|<!-- keys: ([\w.]+):", "\n".join(map(text, doc_pages())), re.MULTILINE)
    for dotted in {a or b for a, b in named}:
        parts = dotted.split(".")
        ends = [parts, parts[:-1]]
        assert (
            any((ROOT / "src").joinpath(*p).with_suffix(".py").exists() for p in ends)
            or (ROOT / "src").joinpath(*parts, "__init__.py").exists()
        ), dotted


def doc_pages() -> list[str]:
    return [str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text(page))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_says_the_two_commands_and_make_knows_them():
    readme, make = text("README.md"), text("Makefile")
    for target in ("demo", "test"):
        assert f"$ make {target}" in readme
        assert re.search(rf"^{target}:", make, re.MULTILINE)


def test_readme_example_parses_and_uses_public_names():
    (block,) = re.findall(r"```python\n(.*?)```", text("README.md"), re.DOTALL)
    used = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ist"
    }
    assert used - set(public_names()) == set()
    assert {"read", "split", "fit", "load", "evaluate"} <= used


def test_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert isthmus.__version__ == version
    assert yaml.safe_load(text("CITATION.cff"))["version"] == version
    assert re.search(rf"^## \[{re.escape(version)}\]", text("CHANGELOG.md"), re.MULTILINE)


def test_licence_is_what_the_project_says():
    assert PROJECT["project"]["license"] == "Apache-2.0" == yaml.safe_load(text("CITATION.cff"))["license"]
    assert "Version 2.0, January 2004" in text("LICENSE")


def test_ci_runs_the_test_command():
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)


def committed() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.split("\n") if done.returncode == 0 else []


def test_no_path_of_a_developers_machine_is_committed():
    pattern = re.compile(r"(?<![\w.$}~])/(work|root|home|Users)/\w+")
    kinds = (".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".html", "Makefile")
    files = [f for f in committed() if f.endswith(kinds) and f != "tests/test_house.py" and (ROOT / f).is_file()]
    assert [f for f in files if pattern.search(text(f))] == []


# ---- examples


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_an_example_finds_its_data_and_says_where_the_public_does(path):
    written = path.read_text(encoding="utf-8")
    recipe = yaml.safe_load(written)
    sections = {
        "data",
        "prepare",
        "likelihood",
        "model",
        "heads",
        "confounders",
        "training",
        "evaluate",
        "compare",
        "tune",
    }
    assert set(recipe) <= sections | {"impute", "associate"}
    if "read" in recipe["data"]:
        assert "Where the public gets the data:" in written
        read = recipe["data"]["read"]
        sources = [read] if isinstance(read, str) else [*read.values(), recipe["data"]["obs"]]
        paths = [s if isinstance(s, str) else s["path"] for s in sources]
        away = [p for p in paths if not (path.parent / p).exists()]
        assert [p for p in away if not p.startswith("${ISTHMUS_DATA:-../../shared/data}/")] == []
        if SHARED.is_dir():
            assert [p for p in away if not (SHARED / p.partition("}/")[2]).exists()] == []
        assert isinstance(read, str) or set(recipe["prepare"]) == set(read)
    assert re.search(rf"isthmus (run|compare|impute|associate) examples/{re.escape(path.name)}", written)


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem.startswith("impute_")], ids=lambda p: p.stem)
def test_an_example_of_imputation_is_a_valid_recipe(path):
    recipe = load_impute_recipe(path, ["impute.level=0.8"])
    assert recipe.impute.level == 0.8
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["impute"]
    resolved = yaml.safe_load(recipe.text())["impute"]
    assert {k: resolved[k] for k in written if k != "downstream"} == {
        k: v for k, v in written.items() if k != "downstream"
    }


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem.startswith("associate_")], ids=lambda p: p.stem)
def test_an_example_of_association_is_a_valid_recipe(path):
    recipe = load_associate_recipe(path, ["associate.fdr=0.2"])
    assert recipe.associate.fdr == 0.2
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["associate"]
    resolved = yaml.safe_load(recipe.text())["associate"]
    plain = {k: v for k, v in written.items() if not isinstance(v, dict) and k not in recipe.associate.paths}
    assert {k: resolved[k] for k in plain} == plain


@pytest.mark.parametrize(
    "path", [p for p in RECIPES if not p.stem.startswith(("impute_", "associate_"))], ids=lambda p: p.stem
)
def test_an_example_is_a_valid_recipe(path):
    recipe = load_recipe(path, ["training.epochs=2"])
    assert recipe.training.epochs == 2
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    same = [k for k in written if k != "name" and k not in recipe.model.paths]  # paths are made absolute
    assert {k: recipe.model.model_dump(mode="json")[k] for k in same} == {k: written[k] for k in same}
    files = [getattr(recipe.model, k) for k in recipe.model.paths if k in written]
    assert [f for f in files if not f.startswith(os.sep) or (SHARED.is_dir() and not Path(f).exists())] == []


def test_the_quickstart_runs_as_it_stands():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "quickstart.py"],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the loaded model gives the same embedding: True" in done.stdout
    scores = {line.split()[0]: float(line.split()[2]) for line in done.stdout.splitlines() if " class " in line}
    assert set(scores) == {"embedding", "pca"}
    assert min(scores.values()) > 0.8


# ---- start-up


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import isthmus, isthmus.config, isthmus.registry, isthmus.training.settings") == set()
    assert loaded_after("import isthmus.registry as r; [r.settings(n) for n in r.names()]") == set()


def test_reading_evaluating_and_reporting_need_no_torch():
    code = "import isthmus.data.read, isthmus.data.split, isthmus.prepare.preparation, isthmus.evaluate, isthmus.report"
    assert "torch" not in loaded_after(code)


CLI = "import sys; from isthmus.cli import main; sys.exit(main())"


@needs_cli
def test_help_names_the_verbs_and_imports_nothing_heavy():
    done = python(CLI, "--help")
    assert done.returncode == 0, done.stderr
    for verb in ("demo", "init", "run", "apply", "simulate", "models", "steps", "doctor"):
        assert re.search(rf"\b{verb}\b", done.stdout), verb
    assert "..." not in done.stdout.split("Commands:")[1]  # what a verb does is said to its end
    assert loaded_after("import sys; sys.argv = ['isthmus', '--help']\nfrom isthmus.cli import main; main()") == set()


@needs_cli
def test_a_mistake_in_a_recipe_is_one_line_found_without_torch_and_leaves_nothing(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {simulate: {n: 50}}\nmodel: {name: vae, latnt: 8}\n", encoding="utf-8")
    arguments = ["run", str(recipe), "--out", str(tmp_path / "out")]
    done = python(CLI, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "latnt" in done.stderr
    assert "latent" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]
    code = f"import sys; sys.argv = ['isthmus', *{arguments!r}]\nfrom isthmus.cli import main; main()"
    assert "torch" not in loaded_after(code)


@pytest.mark.slow
def test_the_docs_build_without_a_warning(tmp_path):
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("the extra docs is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = "\n".join(p.read_text(encoding="utf-8") for p in (tmp_path / "site").rglob("*.html"))
    assert not re.search(r"<!-- (keys|architecture|steps|help|file|floors)", pages)
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']?https?://""", pages)
