"""The pages for people: their links lead somewhere, and what they show is what the program says."""

import re
from itertools import islice

import pytest
import yaml

from host.paths import ROOT
from ops.cluster import folder
from ops.commands import verify
from ops.commands.lifecycle import _text
from plan.images.completeness import Result
from plan.images.reference import ImageReference
from plan.images.storage import MISSING, Fault
from plan.settings.stack import parse
from plan.stack import Facts, build

README = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / ".github").rglob("*.md")), *DOCS]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != ".work")
NAMED = re.compile(rf"`((?:{'|'.join(map(re.escape, FOLDERS))})/[^`\s*{{}}]+)`")
# Files that a page tells its reader to make.
TO_BE_MADE = {"stacks/Pulumi.mine.yaml", "stacks/Pulumi.NAME.yaml"}


def name(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page, text):
    """Links of a page to files or headings that there are not."""
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    assert list(dead_links(page, page.read_text())) == []


def test_a_dead_link_is_found():
    text = "[a](docs/clusters.md) [b](docs/clusters.md#nowhere) [c](no/such.md) [d](#what-you-need)"
    found = dead_links(ROOT / "README.md", text)
    assert list(found) == ["docs/clusters.md#nowhere", "no/such.md"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_is_there(page):
    named = {path.partition("::")[0].rstrip("/") for path in NAMED.findall(page.read_text())}
    assert {path for path in named - TO_BE_MADE if not (ROOT / path).exists()} == set()


def test_every_page_is_reached_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(README)}
    assert {page for page in DOCS if page.parent.name != "adr"} <= linked


def shown(mark):
    """The block of the README that stands behind a comment."""
    found = re.search(rf"<!-- {mark} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md needs a block behind <!-- {mark} -->"
    return found[1]


def outputs(stack, **facts):
    config = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    settings = parse({key.removeprefix("talos-cache:"): value for key, value in config.items()})
    known = Facts(identity="me@here", bridge_gateway="172.17.0.1", **facts)
    return build(stack, settings, known).outputs


def test_the_readme_shows_the_patch_as_it_is():
    patch = outputs("docker")["machineConfigPatch"]
    assert shown("patch") == "---\n".join(islice(patch.split("---\n"), 2))


def test_the_readme_shows_the_clusters_as_they_are(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/home/you/.local/state")
    access = folder.access("docker-cluster", ["talos-default"])
    said = _text(outputs("docker-cluster", access=access)["clusters"])
    # The folder's name ends with a hash of what is this checkout's alone.
    assert shown("clusters") == re.sub(r"(docker-cluster)-\w{6}/", r"\1-1a2b3c/", said) + "\n"


def test_the_readme_shows_what_verify_says():
    image = ImageReference(host="docker.io", repository="library/busybox", tag="1.37")
    fault = Fault(part="tag", digest="", size=0, problem=MISSING)
    whole = Result(image=image, size=6_150_000, faults=())
    results = [whole, whole, Result(image=image, size=0, faults=(fault,))]
    assert shown("verify") == f"{verify._table(results, [], [])}\n"


# Those in docs/private.md are tested with its other promises, in tests/test_docs.py.
RECIPES = [
    pytest.param(recipe, id=f"{page.stem}-{number}")
    for page in DOCS
    if page.stem != "private"
    for number, recipe in enumerate(re.findall(r"```yaml\n(config:.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_stack_in_a_page_is_a_valid_one(recipe):
    config = yaml.safe_load(recipe)["config"]
    assert parse({key.removeprefix("talos-cache:"): value for key, value in config.items()})
