"""Artifacts that machines share: what is there is fetched, what is only here is handed on, half a version is none."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import copy_project
from tests.pipelines.test_project import run
from unlearnable.artifacts.atomic import DamagedError, read_checked, sidecar, write_new
from unlearnable.artifacts.storage import Storage, is_there
from unlearnable.errors import InputError

SCORES = "data/08_reporting/digits/abc/scores.json"
CHECKPOINTS = "data/06_models/digits/abc/checkpoints"


@pytest.fixture
def machines(tmp_path):
    """Two projects and the folder that they share."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    return [Storage(str(tmp_path / "shared"), folder, {}) for folder in folders], folders, tmp_path / "shared"


def artifact(project: Path, content: bytes = b"0.5", version: str = "v1") -> Path:
    write_new(project / SCORES / version / "scores.json", content)
    return project / SCORES


def training(project: Path, version: str, *, ended: bool) -> Path:
    epochs = 3
    for epoch in range(1, epochs + 1):
        last = ".last" if ended and epoch == epochs else ""
        write_new(project / CHECKPOINTS / version / "checkpoints" / f"epoch-{epoch:04d}{last}.safetensors", bytes([epoch]))
    return project / CHECKPOINTS


def test_what_one_machine_has_the_other_gets_with_its_checksum(machines):
    (one, two), (here, there), _ = machines
    one.share(artifact(here))
    assert two.index(["data/08_reporting"]) == {SCORES}
    two.share(there / SCORES)
    assert read_checked(there / SCORES / "v1" / "scores.json") == b"0.5"


def test_a_training_is_shared_whole_and_only_when_it_has_ended(machines):
    (one, two), (here, there), _ = machines
    one.share(training(here, "v1", ended=False))
    assert one.index(["data/06_models"]) == set()
    one.share(training(here, "v2", ended=True))
    assert one.index(["data/06_models"]) == {CHECKPOINTS}
    two.share(there / CHECKPOINTS)
    assert is_there(there / CHECKPOINTS)
    assert len(list((there / CHECKPOINTS).rglob("epoch-*.safetensors"))) == 3


def test_a_file_goes_before_its_sidecar_and_the_last_epoch_goes_last(machines, monkeypatch):
    (one, _), (here, _), _ = machines
    put, do = [], Storage._do

    def noted(self, what, *arguments):
        put.extend(Path(arguments[1]).name for _ in range(what == "put_file"))
        return do(self, what, *arguments)

    monkeypatch.setattr(Storage, "_do", noted)
    one.share(training(here, "v1", ended=True))
    names = ["epoch-0001", "epoch-0002", "epoch-0003.last"]
    assert put == [f"{name}.safetensors{end}" for name in names for end in ("", ".sha256")]


def test_what_both_have_stays_as_it_is(machines):
    (one, two), (here, there), shared = machines
    one.share(artifact(here, b"1"))
    two.share(artifact(there, b"2", "v2"))
    assert (there / SCORES / "v2" / "scores.json").read_bytes() == b"2"
    assert not (there / SCORES / "v1").exists()
    assert not (shared / SCORES / "v2").exists()


def test_a_version_without_its_sidecar_is_none(machines):
    (one, two), (here, there), shared = machines
    one.share(artifact(here))
    sidecar(shared / SCORES / "v1" / "scores.json").unlink()
    assert two.index(["data/08_reporting"]) == set()
    two.share(there / SCORES)
    assert not (there / SCORES).exists()
    one.share(here / SCORES)
    assert two.index(["data/08_reporting"]) == {SCORES}


def test_damage_in_the_storage_is_found_and_nothing_of_it_kept(machines):
    (one, two), (here, there), shared = machines
    one.share(artifact(here))
    (shared / SCORES / "v1" / "scores.json").write_bytes(b"0.7")
    with pytest.raises(DamagedError, match="expected the bytes that its sidecar says, got others"):
        two.share(there / SCORES)
    assert not list(there.rglob("scores.json/*"))


def test_the_newest_of_several_versions_is_fetched(machines):
    (one, two), (here, there), shared = machines
    one.share(artifact(here, b"1", "2026-01-01"))
    for name in ("scores.json", "scores.json.sha256"):  # of a machine that did not see the first
        target = shared / SCORES / "2026-01-02" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((shared / SCORES / "2026-01-01" / name).read_bytes())
    two.share(there / SCORES)
    assert [path.parent.name for path in (there / SCORES).rglob("scores.json")] == ["2026-01-02"]


WRONG = {
    "no such protocol": ({"url": "s4://x", "credentials": None}, "storage s4://x: expected a place that fsspec knows, got ValueError"),
    "no such credentials": ({"url": "s3://x", "credentials": "mi"}, r"expected the credentials 'mi' .* got none \(did you mean 'mine'\?\)"),
    "wrong type": ({"url": 1, "credentials": None}, "storage.yml: 'url': expected a valid string, got 1"),
    "no such setting": ({"url": None, "credentials": None, "key": "a"}, "storage.yml: 'key': expected no such setting, got 'a'"),
}


@pytest.mark.parametrize(("values", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_it_is_said_in_one_line(tmp_path, values, expected):
    with pytest.raises(InputError, match=expected):
        Storage.of(values, tmp_path, {"mine": {}}).require()


def test_no_url_is_no_storage(tmp_path):
    assert Storage.of({"url": None, "credentials": None}, tmp_path, {}) is None


def test_a_run_takes_what_another_machine_has_made(tmp_path):
    projects = [copy_project(tmp_path / name) for name in ("first", "second")]
    for project in projects:
        (project / "conf" / "local").mkdir(exist_ok=True)
        (project / "conf" / "local" / "storage.yml").write_text(yaml.safe_dump({"url": str(tmp_path / "shared")}))
    small = {"ingest": {"train_size": 60, "test_size": 20}, "train": {"epochs": 1, "batch_size": 20}, "poison": "ops"}
    assert "scores" in run(projects[0], pipeline="recover", **small)
    assert run(projects[1], pipeline="recover", **small) == set()
    assert run(projects[1], pipeline="recover", recovery="grayscale", **small) >= {"recovered_checkpoints", "scores"}
