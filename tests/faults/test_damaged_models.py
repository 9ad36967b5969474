"""Damaged, exchanged and hostile model files are refused, each with one code that says what it is.

One fault at a time, on real tiny models: with the manifest that vouches for every byte, and in
copies without it, where the first recorded probe is asked.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.inference.conftest import build, make_tokenizer, rows_for

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import LLMwrightError
from llmwright.core.runs import Run
from llmwright.export.gguf.write import write_gguf
from llmwright.inference.engines.opening import open_tokenizer
from llmwright.inference.proof import sound
from llmwright.inference.proof.probes import record_probes
from llmwright.inference.proof.sound import open_sound
from llmwright.models.load import load_model, load_tokenizer
from llmwright.models.pickled import pickles_allowed
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract

pytestmark = pytest.mark.fault
WEIGHTS = "model.safetensors"


class Bomb:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Return the artifact of a tiny model with recorded probes; each is made once."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "run").mkdir()
    run = Run("r", root / "run", root, Store(root / ".llmwright"), [])
    made: dict[str, Artifact] = {}

    def artifact_of(name: str) -> Artifact:
        if name not in made:
            torch.set_num_threads(1)
            with run.draft("model") as draft:
                _fill(name, draft.path)
            assert draft.artifact is not None
            made[name] = draft.artifact
        return made[name]

    return artifact_of


def _fill(name: str, folder: Path) -> None:
    kind = name.removesuffix("_gguf")
    build(kind, folder)
    if kind == "decoder":
        tokenizer = load_tokenizer(folder)
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        tokenizer.save_pretrained(folder)
        digest = chat.known_sha256(open_tokenizer(folder))
        contract = Contract.open(folder)
        contract.model_copy(update={"chat_template_sha256": digest}).save(folder)
    record_probes(folder, rows_for(kind), Contract.open(folder), "validation", 8)
    if name.endswith("_gguf"):
        model = load_model(folder, task="AutoModelForCausalLM")
        write_gguf(model, load_tokenizer(folder), folder / "model.gguf", "q8_0", lambda *_: None)
        info = {"format": "gguf", "number_format": "q8_0", "graphs": {"model": "model.gguf"}}
        (folder / "export.json").write_text(json.dumps(info))
        (folder / WEIGHTS).unlink()


def flip(path: Path, place: float = 0.6) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0x40
    path.write_bytes(bytes(content))


def cut(path: Path, share: float = 0.7) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def code_of(folder: Path) -> str:
    with pytest.raises(LLMwrightError) as error:
        open_sound(folder)
    assert error.value.message
    assert error.value.fix
    return error.value.code


def copied(artifact: Artifact, to: Path) -> Path:
    """A copy without the manifest: nothing vouches for its bytes."""
    shutil.copytree(artifact.path, to, ignore=shutil.ignore_patterns("manifest.json"))
    return to


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def spoil(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if tensors[name].dim() == 2)
    tensors[name][3, 3] = float("nan")


def stranger(tensors: dict[str, torch.Tensor]) -> None:
    for name in tensors:
        if tensors[name].dim() == 2:
            tensors[name] = tensors[name] * 1.5


def shards(folder: Path) -> None:
    model = load_model(folder, task="AutoModelForSequenceClassification")
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def other_tokenizer(folder: Path) -> None:
    """One that has learned other texts, with more tokens than the model."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"word{i}" for i in range(50)])
    tokenizer.save_pretrained(folder)


def swapped_tokenizer(folder: Path) -> None:
    """One of the same size whose tokens have other ids."""
    path = folder / "tokenizer.json"
    saved = json.loads(path.read_text())
    vocabulary = saved["model"]["vocab"]
    ids = sorted(vocabulary.values())
    plain = [token for token, index in vocabulary.items() if index >= 4]
    turned = dict(zip(plain, [i for i in ids if i >= 4][::-1], strict=True))
    saved["model"]["vocab"] = {**vocabulary, **turned}
    path.write_text(json.dumps(saved))


def turned_labels(folder: Path) -> None:
    contract = Contract.open(folder)
    contract.model_copy(update={"labels": contract.labels[::-1]}).save(folder)


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps(Bomb(folder / "ran")))


def pickled_by_torch(folder: Path) -> None:
    torch.save({"bomb": Bomb(folder / "ran")}, folder / WEIGHTS)


def only_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


CLASSIFIER_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights cut": (lambda f: cut(f / WEIGHTS), "MODEL-011"),
    "weights empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "MODEL-011"),
    "header flipped": (lambda f: flip(f / WEIGHTS, 0.0), "MODEL-011"),
    "weights gone": (lambda f: (f / WEIGHTS).unlink(), "INFER-001"),
    "shard gone": (shards, "MODEL-011"),
    "not a number": (lambda f: change_weights(f, spoil), "MODEL-061"),
    "other weights": (lambda f: change_weights(f, stranger), "INFER-081"),
    "larger vocabulary": (other_tokenizer, "INFER-080"),
    "other ids": (swapped_tokenizer, "INFER-081"),
    "labels turned": (turned_labels, "INFER-081"),
    "pickle": (pickled, "MODEL-011"),
    "pickle of torch": (pickled_by_torch, "MODEL-011"),
    "pickle beside": (only_pickle, "INFER-001"),
    "tokenizer cut": (lambda f: cut(f / "tokenizer.json"), "INFER-003"),
    "contract cut": (lambda f: cut(f / "contract.json"), "TASK-014"),
    "probes cut": (lambda f: cut(f / "probes.safetensors"), "INFER-011"),
    "config cut": (lambda f: cut(f / "config.json"), "MODEL-011"),
}


@pytest.mark.parametrize("fault", CLASSIFIER_FAULTS)
def test_damaged_classifiers_are_refused(
    fault: str, originals: Callable[[str], Artifact], tmp_path: Path
) -> None:
    folder = copied(originals("classifier"), tmp_path / "copy")
    damage, code = CLASSIFIER_FAULTS[fault]
    damage(folder)
    assert code_of(folder) == code
    # Whatever was pickled there has not run.
    assert not (folder / "ran").exists()


def test_pickled_weights_are_read_where_they_are_allowed(
    originals: Callable[[str], Artifact], tmp_path: Path
) -> None:
    folder = copied(originals("classifier"), tmp_path / "copy")
    row = rows_for("classifier")[0]
    expected = next(open_sound(folder).predict([row]))
    only_pickle(folder)
    with pickles_allowed(True):
        assert next(open_sound(folder).predict([row])) == expected
    assert code_of(folder) == "INFER-001"
    # Allowed are tensors; what would run is refused all the same.
    torch.save({"bomb": Bomb(folder / "ran")}, folder / "pytorch_model.bin")
    with pickles_allowed(True):
        assert code_of(folder) == "MODEL-011"
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["classifier", "decoder", "decoder_gguf"])
def test_whole_copies_open(name: str, originals: Callable[[str], Artifact], tmp_path: Path) -> None:
    for folder in (originals(name).path, copied(originals(name), tmp_path / "copy")):
        predictor = open_sound(folder)
        assert predictor.notes == []
        predictor.close()


@pytest.mark.parametrize("name", [WEIGHTS, "contract.json", "tokenizer.json", "probes.safetensors"])
def test_one_flipped_bit_is_found_by_the_manifest(
    name: str, originals: Callable[[str], Artifact], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(originals("classifier").path, tmp_path / "copy"))
    content = bytearray((folder / name).read_bytes())
    content[-20] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(LLMwrightError) as error:
        open_sound(folder)
    assert error.value.code == "CORE-032"
    assert name in str(error.value)


def test_of_large_models_sizes_are_compared_and_that_is_said(
    originals: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "MAX_HASHED_BYTES", 1000)
    folder = Path(shutil.copytree(originals("classifier").path, tmp_path / "copy"))
    assert "only the sizes" in open_sound(folder).notes[-1]
    (folder / "added.txt").write_text("does not matter")
    open_sound(folder)
    cut(folder / WEIGHTS)
    assert code_of(folder) == "CORE-032"


def template(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return change


HOSTILE = "{{ cycler.__init__.__globals__.os.system('touch ran') }}"


@pytest.mark.parametrize("name", ["decoder", "decoder_gguf"])
def test_another_template_is_refused_unread(
    name: str, originals: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copied(originals(name), tmp_path / "copy")
    template(HOSTILE)(folder)
    assert code_of(folder) == "INFER-023"
    assert not (tmp_path / "ran").exists()


GGUF_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (lambda f: cut(f / "model.gguf"), "INFER-044"),
    "gone": (lambda f: (f / "model.gguf").unlink(), "INFER-044"),
    "empty": (lambda f: (f / "model.gguf").write_bytes(b""), "INFER-044"),
    "another kind of file": (lambda f: flip(f / "model.gguf", 0.0), "INFER-044"),
    "export.json cut": (lambda f: cut(f / "export.json"), "INFER-006"),
}


@pytest.mark.parametrize("fault", GGUF_FAULTS)
def test_damaged_gguf_is_refused(
    fault: str, originals: Callable[[str], Artifact], tmp_path: Path
) -> None:
    folder = copied(originals("decoder_gguf"), tmp_path / "copy")
    damage, code = GGUF_FAULTS[fault]
    damage(folder)
    assert code_of(folder) == code


def test_gguf_of_another_model_is_refused(
    originals: Callable[[str], Artifact], tmp_path: Path
) -> None:
    folder = copied(originals("decoder_gguf"), tmp_path / "copy")
    other = build("decoder", tmp_path / "other", seed=5)
    model = load_model(other, task="AutoModelForCausalLM")
    tokenizer = load_tokenizer(other)
    write_gguf(model, tokenizer, folder / "model.gguf", "q8_0", lambda *_: None)
    assert code_of(folder) == "INFER-081"


def test_gguf_whose_weights_are_no_numbers_is_refused(
    originals: Callable[[str], Artifact], tmp_path: Path
) -> None:
    folder = copied(originals("decoder_gguf"), tmp_path / "copy")
    model = load_model(originals("decoder").path, task="AutoModelForCausalLM")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = np.nan
    tokenizer = load_tokenizer(folder)
    write_gguf(model, tokenizer, folder / "model.gguf", "bf16", lambda *_: None)
    assert code_of(folder) in ("INFER-044", "INFER-081")


def test_a_template_inside_gguf_is_never_rendered(
    originals: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copied(originals("decoder_gguf"), tmp_path / "copy")
    expected = next(open_sound(folder).predict([{"text": "The weather"}]))
    model = load_model(originals("decoder").path, task="AutoModelForCausalLM")
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = HOSTILE
    write_gguf(model, tokenizer, folder / "model.gguf", "q8_0", lambda *_: None)
    assert next(open_sound(folder).predict([{"text": "The weather"}])) == expected
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ 1 // 0 }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_hostile_template_runs_in_a_sandbox_only(
    text: str, originals: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = load_tokenizer(originals("decoder").path)
    tokenizer.chat_template = text
    with pytest.raises(LLMwrightError) as error:
        chat.render(tokenizer, [{"role": "user", "content": "hello"}], prompt=True)
    assert error.value.code == "TASK-009"
    assert not (tmp_path / "ran").exists()
