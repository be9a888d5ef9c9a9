"""The script that lists the places with the product's name."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_the_script_lists_this_repository() -> None:
    """As JSON on standard output."""
    command = [sys.executable, "ops/product_name.py", "--json"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    kinds = {mention["kind"] for mention in json.loads(listed.stdout)}
    assert {"environment variable", "database role", "documentation", "package", "code"} <= kinds
