"""What the demo and the bench report, and whose containers the demo leaves alone; no Docker."""

import pytest

import bench.__main__ as bench
import demo.__main__ as demo
import ops.__main__ as ops
from host import entry_point
from host.errors import SetupError
from ops.docker.api import Container
from plan.ownership import CHECKOUT_LABEL


@pytest.mark.parametrize("command", [bench, demo, ops])
def test_an_error_of_the_set_up_is_shown_by_every_command_that_calls_it(command, capsys):
    def fail():
        raise SetupError("what to do")

    assert entry_point.run("it", fail, getattr(command, "KNOWN", ())) == 1
    assert capsys.readouterr().err == "it: what to do\n"


def left(name, checkout, **labels):
    labels = {**demo.LABELS, CHECKOUT_LABEL: checkout, **labels}
    return Container(
        id=name, name=name, image="i", status="exited", labels=tuple(labels.items()), published=()
    )


@pytest.fixture
def refuse(monkeypatch):
    def among(*containers):
        monkeypatch.setattr(demo.api, "containers", lambda _: containers)
        demo._refuse_leftovers_of_others(None)

    return among


def test_this_checkouts_leftovers_are_its_own_under_any_name_of_the_machine(refuse):
    folder = demo.ROOT
    refuse(left("a", f"before:{folder}"), left("b", f"after:{folder}"))
    refuse(left("c", "host:/elsewhere", **{"talos-cache.stack": "docker"}))


def test_all_leftovers_of_others_are_named_in_one_line(refuse):
    with pytest.raises(demo.DemoError) as caught:
        refuse(left("b", "host:/two"), left("mine", demo.CHECKOUT), left("a", "host:/one"))
    assert "/one, /two" in str(caught.value)
    assert str(caught.value).endswith("docker rm -f a b")
