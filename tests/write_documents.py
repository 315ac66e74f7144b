"""Writes what is made of the table of keys: .work/venv/bin/python -m tests.write_documents"""

import json

from host.paths import ROOT
from plan.settings import documents
from plan.settings.stack_schema import stack_schema

COMMAND = ".work/venv/bin/python -m tests.write_documents"


def made():
    """Path of each document -> what it should hold; the parts written by hand stay as they are."""
    engine, page = ROOT / "Pulumi.yaml", ROOT / "docs" / "configuration.md"
    by_hand = engine.read_text().partition("\nconfig:\n")[0]
    before, start, rest = page.read_text().partition("<!-- config keys -->\n")
    _, end, after = rest.partition("<!-- end of config keys -->\n")
    return {
        engine: f"{by_hand}\n{documents.pulumi_config()}",
        page: before + start + documents.key_table() + end + after,
        ROOT / "stacks" / "Pulumi.example.yaml": documents.example(),
        ROOT / "stacks" / "schema.json": json.dumps(stack_schema(), indent=1) + "\n",
    }


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
