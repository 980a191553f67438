import pytest

from unlearnable.errors import InputError
from unlearnable.register import Register


@pytest.fixture
def poisons() -> Register[str]:
    register: Register[str] = Register("poison")
    for name in ("none", "lsp", "ops"):
        register.add(name)(name.upper())
    return register


def test_known_names_come_in_the_order_of_registration(poisons):
    assert list(poisons) == ["none", "lsp", "ops"]
    assert poisons["ops"] == "OPS"


def test_an_unknown_name_lists_the_known_and_the_nearest(poisons):
    with pytest.raises(InputError) as error:
        poisons["opps"]
    assert str(error.value) == "unknown poison 'opps'; known: none, lsp, ops (did you mean 'ops'?)"


def test_a_name_is_registered_once(poisons):
    with pytest.raises(ValueError, match="'ops' is registered twice"):
        poisons.add("ops")("again")


def test_notes_are_made_once_and_go_with_what_is_restored(poisons):
    poisons.note("pixels", 1, "ops")
    state = poisons.snapshot()
    poisons.add("new")("NEW")
    poisons.note("pixels", 3, "new")
    with pytest.raises(ValueError, match="poison 'ops' has two notes 'pixels'"):
        poisons.note("pixels", 2, "ops")
    assert (poisons.noted("pixels", "ops"), poisons.noted("pixels", "new"), poisons.noted("colour", "ops")) == (1, 3, None)
    poisons.restore(state)
    assert "new" not in poisons
    assert (poisons.noted("pixels", "ops"), poisons.noted("pixels", "new")) == (1, None)
