"""What the command says of options before anything runs."""

import re

import click
import pytest
from click.testing import CliRunner

from tests.conftest import ROOT
from unlearnable import cli
from unlearnable.pipeline_registry import register_pipelines


@pytest.fixture
def asked(monkeypatch):
    """Return exit code, output and the options that reach Kedro's command, which is left out."""

    def run(*arguments: str):
        reached = {}
        monkeypatch.setattr(cli.run, "callback", cli._in_one_line(lambda **options: reached.update(options)))
        result = CliRunner().invoke(cli.run, ["--env=test", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output.strip(), reached

    return run


@pytest.mark.parametrize(
    ("argument", "kind", "near"),
    [
        ("--tags=trainin", "tag", "training"),
        ("--tags=training,crafing", "tag", "crafting"),
        ("--from-nodes=craft_poisn", "node", "craft_poison"),
        ("--to-nodes=craft_poisn", "node", "craft_poison"),
        ("--nodes=select_image", "node", "select_images"),
        ("--from-inputs=clean_trian", "dataset", "clean_train"),
        ("--to-outputs=poisoned_trian", "dataset", "poisoned_train"),
        ("--load-versions=clean_trian:x", "dataset", "clean_train"),
        ("--namespaces=training", "namespace", "trainings"),
        ("--runner=SequentialRuner", "runner", "SequentialRunner"),
        ("--runner=kedro.runner.ThreadRuner", "runner", "ThreadRunner"),
        ("--runner-params=is_asinc=true", "parameter of SequentialRunner", "is_async"),
    ],
)
def test_a_misspelt_option_names_the_nearest(asked, argument, kind, near):
    code, output, reached = asked("--pipeline=orthoproj", argument)
    assert (code, reached) == (1, {})
    assert re.fullmatch(rf"Error: unknown {kind} '\S+'; known: .* \(did you mean '{near}'\?\)", output)


@pytest.mark.parametrize("name", ["nosuch.Runner", "kedro.runner.AbstractRunner", "kedro.runner.Task", "unlearnable.cli.Path", "a."])
def test_what_is_no_runner_is_refused(asked, name):
    code, output, _ = asked("--pipeline=orthoproj", f"--runner={name}")
    assert code == 1
    assert output.startswith(f"Error: unknown runner '{name}'; known: ParallelRunner, SequentialRunner, ThreadRunner")


def test_a_choice_that_leaves_nothing_is_one_line(asked):
    code, output, _ = asked("--pipeline=orthoproj", "--tags=crafting", "--nodes=select_images")
    assert code == 1
    assert output == "Error: expected nodes that match all of the options (tags crafting, node_names select_images), got none"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tags=training,crafting", "--runner=ThreadRunner", "--runner-params=max_workers=2"],
        ["--from-nodes=craft_poison", "--to-outputs=scores"],
        ["--namespaces=trainings", "--runner=kedro.runner.SequentialRunner"],
        ["--from-inputs=clean_train"],
        ["--nodes=trainings.train_clean"],
    ],
)
def test_options_that_are_right_reach_kedro(asked, arguments):
    code, output, reached = asked("--pipeline=orthoproj", *arguments)
    assert (code, output) == (0, "")
    assert reached["pipelines"] == ["orthoproj"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('data_root="/a,b",seed=1', {"data_root": "/a,b", "seed": 1}),
        ("seed=1,data_root='/a,b'", {"data_root": "/a,b", "seed": 1}),
        ('a="[x",b=2', {"a": "[x", "b": 2}),
        ("a=[1,2],b=it's,c='x,y'", {"a": [1, 2], "b": "it's", "c": "x,y"}),
        ('train.epochs="5"', {"train": {"epochs": "5"}}),
        ("a.b=1,a.c=2", {"a": {"b": 1, "c": 2}}),
    ],
)
def test_a_comma_in_quotes_belongs_to_the_value(asked, text, wanted):
    assert asked("--pipeline=ingest", f"--params={text}")[2]["params"] == wanted


@pytest.mark.parametrize("command", [cli.run, cli.study], ids=["run", "study"])
def test_the_examples_in_its_help_are_commands(command):
    """Their options are known, and their pipelines and studies are there."""
    shown = CliRunner().invoke(command, ["--help"]).output
    examples = [line.split()[1:] for line in shown.splitlines() if line.strip().startswith("kedro ")]
    assert len(examples) >= 3
    for words in examples:
        found, given = cli.cli, words
        while isinstance(found, click.Group):
            found, given = found.commands[given[0]], given[1:]
        parsed = found.make_context("example", list(given)).params
        assert parsed.get("pipeline") in {None, *register_pipelines()}
        assert "name" not in parsed or (ROOT / "conf" / parsed["env"] / "study" / f"{parsed['name']}.yml").is_file()
