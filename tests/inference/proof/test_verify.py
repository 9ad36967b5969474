"""verify: the true model passes; whatever was changed about it is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import CheckError, ConfigError, InputError
from llmwright.core.events import ArtifactSaved, Event
from llmwright.core.runs import Run
from llmwright.inference.config import VerifyConfig
from llmwright.inference.proof.probes import Probes, record_probes
from llmwright.inference.proof.verify import verify
from llmwright.tasks.contract import Contract

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


class Project:
    """A project with one recorded model."""

    def __init__(self, root: Path, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.events: list[Event] = []
        (root / "run").mkdir()
        self.run = Run(
            "r", root / "run", root, Store(root / ".llmwright"), [self.events.append]
        )  # fmt: skip
        with self.run.draft("model") as draft:
            shutil.copytree(folder, draft.path, dirs_exist_ok=True)
            record_probes(draft.path, rows, Contract.open(draft.path), "validation", 8)
        assert draft.artifact is not None
        self.model: Artifact = draft.artifact

    def verify(self, **settings: Any) -> Artifact:
        return verify(VerifyConfig(**settings), {"model": self.model}, self.run)

    def failed(self, **settings: Any) -> tuple[CheckError, dict[str, Any]]:
        with pytest.raises(CheckError) as error:
            self.verify(**settings)
        saved = [event for event in self.events if isinstance(event, ArtifactSaved)]
        assert saved[-1].kind == "report"
        return error.value, json.loads((Path(saved[-1].path) / "verify.json").read_text())

    def copy(self, to: Path) -> Path:
        """The model's files without their manifest, as a user would copy them elsewhere."""
        shutil.copytree(self.model.path, to, ignore=shutil.ignore_patterns("manifest.json"))
        return to


@pytest.fixture
def make(saved: Saved, rows_of: Rows, tmp_path: Path) -> Callable[[str], Project]:
    return lambda name: Project(tmp_path, saved(name), rows_of(name))


def broken(report: dict[str, Any]) -> set[str]:
    return {check["name"] for check in report["checks"] if not check["passed"]}


@pytest.mark.parametrize(
    "name", ["classifier", "tagger", "decoder", "seq2seq", "recurrent", "recurrent_decoder", "vae"]
)
def test_the_true_model_passes(name: str, make: Callable[[str], Project]) -> None:
    project = make(name)
    report = project.verify()
    body = json.loads((report.path / "verify.json").read_text())
    assert body["passed"] is True
    assert body["target"] == str(project.model.path.relative_to(project.run.root))
    assert body["num_probes"] == body["num_recorded"] == 5
    assert "holds" in (report.path / "report.html").read_text()
    assert report.metadata["parity"]["checks"]["inputs_equal"] == 1.0


def test_a_flipped_bit_of_an_artifact_is_found(make: Callable[[str], Project]) -> None:
    project = make("classifier")
    weights = project.model.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    # The lowest bit of a number: too small for any answer to show.
    content[-4] ^= 1
    weights.write_bytes(bytes(content))
    error, report = project.failed()
    assert broken(report) == {"files_intact"}
    assert "model.safetensors" in error.message
    assert error.code == "INFER-020"


@pytest.mark.parametrize("name", ["classifier", "decoder"])
def test_an_edited_weight_is_found_without_a_manifest(
    name: str, make: Callable[[str], Project], tmp_path: Path
) -> None:
    project = make(name)
    folder = project.copy(tmp_path / "copy")
    project.verify(target=str(folder))
    weights = load_file(folder / "model.safetensors")
    key = next(k for k in weights if k.endswith(("query.weight", "q_proj.weight")))
    weights[key] = weights[key] * 1.01
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _, report = project.failed(target=str(folder))
    expected = "logit_difference" if name == "classifier" else "log_prob_difference"
    assert expected in broken(report)


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((folder / name).read_text(encoding="utf-8"))
    change(values)
    (folder / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def test_another_order_of_labels_is_found(make: Callable[[str], Project], tmp_path: Path) -> None:
    project = make("classifier")
    folder = project.copy(tmp_path / "copy")
    edit(folder, "contract.json", lambda values: values["labels"].reverse())
    error, report = project.failed(target=str(folder))
    assert "labels" in broken(report)
    assert "labels and their order" in error.message


def test_other_stop_tokens_are_found(make: Callable[[str], Project], tmp_path: Path) -> None:
    project = make("decoder")
    folder = project.copy(tmp_path / "copy")
    edit(folder, "contract.json", lambda values: values.update(stop_token_ids=[2]))
    assert "stop_token_ids" in broken(project.failed(target=str(folder))[1])


def test_another_template_is_found(make: Callable[[str], Project], tmp_path: Path) -> None:
    project = make("decoder")
    folder = project.copy(tmp_path / "copy")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert "chat_template_sha256" in broken(project.failed(target=str(folder))[1])


def test_a_wrong_tokenizer_is_found(make: Callable[[str], Project], tmp_path: Path) -> None:
    project = make("classifier")
    folder = project.copy(tmp_path / "copy")

    def swap(values: dict[str, Any]) -> None:
        vocabulary = values["model"]["vocab"]
        used = Probes.open(folder).probes[0].input_ids_T[:2]
        one, two = (next(t for t, i in vocabulary.items() if i == token) for token in used)
        vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]

    edit(folder, "tokenizer.json", swap)
    assert "inputs_equal" in broken(project.failed(target=str(folder))[1])


def test_another_model_is_found_by_the_first_ones_probes(
    make: Callable[[str], Project], saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    project = make("classifier")
    other = project.copy(tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["classifier.weight"] = -weights["classifier.weight"]
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    record_probes(other, rows_of("classifier"), Contract.open(other), "validation", 8)
    project.verify(target=str(other))
    _, report = project.failed(target=str(other), model=str(project.model.path))
    assert report["differences"]


def test_not_a_number_never_passes(make: Callable[[str], Project], tmp_path: Path) -> None:
    project = make("classifier")
    folder = project.copy(tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v * float("nan") if "classifier" in k else v for k, v in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert broken(project.failed(target=str(folder))[1]) == {"loads"}


def test_what_cannot_be_loaded_fails(make: Callable[[str], Project]) -> None:
    project = make("classifier")
    weights = project.model.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert broken(project.failed()[1]) == {"files_intact", "loads"}


@pytest.mark.parametrize("name", ["contract.json", "manifest.json"])
@pytest.mark.parametrize("content", [b"{broken", b"\xff\xfe\x00", b"{}"])
def test_damaged_descriptions_are_said(
    name: str, content: bytes, make: Callable[[str], Project]
) -> None:
    project = make("classifier")
    (project.model.path / name).write_bytes(content)
    error, report = project.failed()
    assert broken(report) == {"files_intact"} | ({"loads"} if "contract" in name else set())
    assert name in error.message


def test_a_larger_tolerance_accepts(make: Callable[[str], Project], tmp_path: Path) -> None:
    project = make("classifier")
    folder = project.copy(tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    key = next(k for k in weights if k.endswith("query.weight"))
    save_file({**weights, key: weights[key] * 1.0005}, folder / "model.safetensors")
    project.failed(target=str(folder), tolerance=1e-6)
    project.verify(target=str(folder), tolerance=0.5)


def test_a_folder_without_probes_and_an_unknown_target_are_said(
    make: Callable[[str], Project], saved: Saved
) -> None:
    project = make("classifier")
    with pytest.raises(InputError) as error:
        project.verify(target=str(saved("tagger")))
    assert error.value.code == "INFER-010"
    with pytest.raises(ConfigError) as unknown:
        project.verify(target="nowhere")
    assert unknown.value.code == "CORE-031"


def test_the_reasons_are_in_the_users_language(
    make: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make("classifier")
    (project.model.path / "tokenizer_config.json").unlink()
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    error, _ = project.failed()
    assert "与清单不符的文件：tokenizer_config.json" in str(error)
