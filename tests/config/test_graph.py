"""Recipes of pipelines made up here, whose answers are read off the drawing."""

import pytest
from kedro.pipeline import Node, Pipeline

from unlearnable.config.graph import Choice, Graph
from unlearnable.errors import InputError


def one(first, *more):
    """Stand for a node of any inputs."""


# raw ─cut(size)─► flour ─bake(oven, cake)─► cake ─eat(seed)─► crumbs;  flour ─sift(mesh)─► dust
PIPELINE = Pipeline(
    [
        Node(one, ["raw", "params:size"], "flour", name="cut"),
        Node(one, ["flour", "params:cake", "params:oven", "params:watts"], "cake", name="bake"),
        Node(one, ["cake", "params:seed"], ["crumbs", "plate"], name="eat"),
        Node(one, ["flour", "params:sieve.mesh"], "dust", name="sift"),
    ]
)
OVEN = Choice(block="oven", by=("cake",), nothing="raw_dough", shared=("heat",), entries={"bought": "shop"})
GRAPH = Graph(pipelines=lambda: {"kitchen": PIPELINE}, choices=(OVEN,), ignored=frozenset({"watts"}))
PARAMETERS = {
    "size": 3,
    "cake": "sponge",
    "oven": {"heat": 180, "sponge": {"eggs": 4}, "tart": {"eggs": 1}},
    "watts": 800,
    "seed": 7,
    "sieve": {"mesh": 2, "colour": "red"},
}


def recipe(artifact, **changed):
    return GRAPH.recipe(artifact, PARAMETERS | changed, lambda entry: f"bytes of {entry}")


def test_a_recipe_is_what_the_nodes_above_ask_for():
    assert recipe("flour") == {"raw": "bytes of raw", "size": 3}
    assert recipe("dust") == {"raw": "bytes of raw", "size": 3, "sieve.mesh": 2}


def test_of_a_block_the_chosen_part_decides_and_what_all_parts_share():
    cake = {"raw": "bytes of raw", "size": 3, "oven.sponge": {"eggs": 4}, "oven.heat": 180}
    assert recipe("cake") == cake
    assert recipe("crumbs") == recipe("plate") == cake | {"seed": 7}
    assert recipe("cake", cake="tart") == {"raw": "bytes of raw", "size": 3, "oven.tart": {"eggs": 1}, "oven.heat": 180}
    assert recipe("cake", cake="pie")["oven.pie"] == {}


def test_where_nothing_is_chosen_the_recipe_is_that_of_the_input():
    assert recipe("cake", cake="raw_dough") == recipe("flour")


def test_an_entry_may_stand_for_a_part():
    assert recipe("cake", cake="bought")["oven.bought"] == "bytes of shop"
    assert GRAPH.sources(PARAMETERS) == ["raw"]
    assert GRAPH.sources(PARAMETERS | {"cake": "bought"}) == ["raw", "shop"]


def test_parts_are_named():
    assert GRAPH.parts("crumbs", PARAMETERS) == {"oven": ["sponge"]}
    assert GRAPH.parts("crumbs", PARAMETERS | {"cake": "raw_dough"}) == {"oven": []}
    assert GRAPH.parts("dust", PARAMETERS) == {"oven": []}


def test_nodes_stand_after_those_that_they_stand_on():
    assert [node.name for node in GRAPH.above("plate")] == ["cut", "bake", "eat"]


def test_of_two_nodes_that_make_one_artifact_the_first_decides():
    other = Pipeline([Node(one, ["raw", "params:seed"], "flour", name="buy")])
    both = Graph(pipelines=lambda: {"shop": other, "kitchen": PIPELINE})
    assert set(both.recipe("flour", PARAMETERS, str)) == {"raw", "seed"}


def test_an_artifact_that_no_node_makes_is_named():
    with pytest.raises(InputError, match=r"unknown artifact 'flower'; known: cake, crumbs, dust, flour, plate \(did you mean 'flour'\?\)"):
        GRAPH.above("flower")


def test_what_may_be_set_for_all_parts_counts_where_it_is_set_and_a_mixture_uses_what_it_names():
    oven = Choice(block="oven", by=("cake",), shared=("heat",), optional=("steam",), mixture="platter")
    graph = Graph(pipelines=lambda: {"kitchen": PIPELINE}, choices=(oven,), ignored=frozenset({"watts"}))
    block = PARAMETERS["oven"] | {"platter": {"sponge": 0.5, "pie": 0.5}}

    def decides(cake, **more):
        found = graph.recipe("cake", PARAMETERS | {"cake": cake, "oven": block | more}, str)
        return {name: value for name, value in found.items() if name.startswith("oven.")}

    assert decides("sponge", steam=None) == {"oven.sponge": {"eggs": 4}, "oven.heat": 180}
    assert decides("sponge", steam=3) == {"oven.sponge": {"eggs": 4}, "oven.heat": 180, "oven.steam": 3}
    mixed = {"oven.platter": block["platter"], "oven.sponge": {"eggs": 4}, "oven.pie": {}, "oven.heat": 180}
    assert decides("platter") == mixed
