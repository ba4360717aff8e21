"""What docs/simulator.md says of the simulator is so."""

import re
import tomllib

from tests.docs.pages import DOCS, Page
from tests.support.fleet import ROOT
from wabajobs.simulator import SimulatorConfig
from wabajobs.simulator.endpoints import ROUTES

PAGE = Page(DOCS / "simulator.md")


def test_the_python_on_the_page_runs() -> None:
    (block,) = (block for block in PAGE.blocks if block.language == "python")

    exec(block.text, {})


def test_the_scenario_on_the_page_is_one() -> None:
    (block,) = (block for block in PAGE.blocks if block.language == "toml")

    config = SimulatorConfig.model_validate(tomllib.loads(block.text))

    assert len(config.faults) == 2


def test_every_endpoint_is_on_the_page_and_no_other() -> None:
    shown = {
        (each["method"], each["path"])
        for each in re.finditer(r"^\| `(?P<method>[A-Z]+) /\{version\}(?P<path>/\S+)`", PAGE.text, re.MULTILINE)
    }

    assert shown == {(route.method, route.path) for route in ROUTES}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE.text)

    assert named
    for file, test in named:
        text = (ROOT / "tests" / "simulator" / file).read_text()
        assert f"def {test}(" in text, f"{file} has no {test}"
