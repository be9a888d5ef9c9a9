"""YAML files of the product mean the same to both of PyYAML's parsers: libyaml's may be missing."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

FOLDERS = ("core", "ingest", "serving", "sample")
FILES = [ROOT / "models.example.yaml", *(f for d in FOLDERS for f in (ROOT / d).rglob("*.yaml"))]


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_read_alike_with_and_without_libyaml(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert yaml.load(text, yaml.SafeLoader) == yaml.load(text, yaml.CSafeLoader)
