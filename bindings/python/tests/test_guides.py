"""The Python of README, docs/python.md and docs/cookbook.md runs as it is printed, from the top of a page to its end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = ["README.md", "bindings/python/README.md", "docs/python.md", "docs/cookbook.md"]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page, tmp_path):
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks(page)))
    folder = tmp_path / "empty"
    folder.mkdir()
    ran = subprocess.run([sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
