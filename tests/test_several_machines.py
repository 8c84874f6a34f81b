"""The script of docs/several_machines.md: two processes give the numbers of one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from two_processes import torchrun

PAGE = (Path(__file__).parent.parent / "docs/several_machines.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="two processes over gloo")
def test_two_processes_train_the_adapter_of_one(minilm, tmp_path, monkeypatch):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    given, wanted = "16, 100, 0.1, torch.float32", "8, 4, 0.0, torch.float64"
    assert given in script
    (tmp_path / "train.py").write_text(script.replace(given, wanted).replace('"run",', '"run",\n    use_cpu=True,'))
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        monkeypatch.chdir(folder)
        if processes == 1:
            paths = {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
            subprocess.run([sys.executable, "../train.py"], env=os.environ | paths, check=True, capture_output=True)
        else:
            torchrun("../train.py")
        description = json.loads((folder / "adapter/adapter.json").read_text())
        found.append((description["backbone"], load_file(folder / "adapter/adapter.safetensors")))
    (backbone, one), (backbone_of_two, two) = found
    assert backbone == backbone_of_two and one.keys() == two.keys()
    assert all(one[name].item() != 1 for name in one if name.endswith("layer_gate.scale"))  # it has learned
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-9
