"""Exports answer like their models, on their own, and say so; what does not is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, InputError, ResourceError
from llmwright.core.events import ArtifactSaved, Notice, Progress
from llmwright.export.config import ExportConfig
from llmwright.export.export import check, export, refuse
from llmwright.inference.config import VerifyConfig
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import Probes
from llmwright.inference.proof.verify import verify
from llmwright.inference.writing.generation import Writer, write_all
from llmwright.tasks.contract import Contract

# One quick export is in every run of the tests: the family whose graph is made quickest.
QUICK = "recurrent"
LABELLERS = [
    QUICK,
    pytest.param("classifier", marks=pytest.mark.slow),
    pytest.param("pairs", marks=pytest.mark.slow),
    pytest.param("tagger", marks=pytest.mark.slow),
    pytest.param("recurrent_tagger", marks=pytest.mark.slow),
]
GENERATORS = [
    pytest.param("decoder", marks=pytest.mark.slow),
    pytest.param("seq2seq", marks=pytest.mark.slow),
]


def both(bench: Any, name: str) -> tuple[Predictor, Predictor]:
    model, exported = bench.model(name), bench.export(name)
    return Predictor.open(model.path), Predictor.open(exported.path)


@pytest.mark.parametrize("name", LABELLERS)
def test_label_exports_give_the_same_logits(name: str, bench: Any) -> None:
    original, exported = both(bench, name)
    assert exported.engine.name == "onnx"
    # Batches and lengths that were not the ones of the traced example.
    for rows in (bench.rows(name), bench.rows(name)[:1], bench.rows(name)[:2] * 4):
        batch = original.task.collate([original.encode(row) for row in rows], original.contract)
        expected, found = original.engine.logits(batch), exported.engine.logits(batch)
        assert np.abs(found - expected)[batch_mask(batch, expected)].max() < 1e-4
    short = {"tokens": ["天"]} if "tagger" in name else {"text": "a"}
    key = "tags" if "tagger" in name else "label"
    assert next(exported.predict([short]))[key] == next(original.predict([short]))[key]


def batch_mask(batch: dict[str, np.ndarray], logits: np.ndarray) -> np.ndarray:
    whole = np.ones(logits.shape[:2], dtype=bool)
    return batch["attention_mask"].astype(bool) if logits.ndim == 3 else whole


@pytest.mark.parametrize("name", GENERATORS)
def test_text_exports_write_the_same(name: str, bench: Any) -> None:
    original, exported = both(bench, name)
    rows = bench.rows(name)
    expected = list(original.predict(rows, max_new_tokens=20))
    assert list(exported.predict(rows, max_new_tokens=20)) == expected
    assert list(exported.predict(rows, batch_size=2, max_new_tokens=20)) == expected
    assert "".join(exported.stream(rows[0], max_new_tokens=20)) == expected[0]["text"]
    sampled = {"temperature": 1.0, "seed": 3, "max_new_tokens": 8}
    assert list(exported.predict(rows, **sampled)) == list(original.predict(rows, **sampled))
    for one, two in zip(original.score(rows), exported.score(rows), strict=True):
        assert np.abs(one.log_probs_U - two.log_probs_U).max() < 1e-4


@pytest.mark.slow
def test_texts_join_those_that_an_export_is_writing(bench: Any) -> None:
    original, exported = both(bench, "decoder")
    prompts = [exported.encode(row).input_ids_T for row in bench.rows("decoder")[:3]]
    settings = [exported.settings(max_new_tokens=count) for count in (4, 12, 8)]
    expected = write_all(original.engine, prompts, settings)
    writer, found = Writer(exported.engine), [[] for _ in prompts]
    for row, prompt in enumerate(prompts):
        writer.add([row], [prompt], [settings[row]], [0])
        taken = list(writer.step())
        while not writer.is_idle() and row == len(prompts) - 1:
            taken += writer.step()
        for token in taken:
            found[token.row] += [token.token_id] if token.finish_reason != "stop" else []
    assert found == [output.token_ids for output in expected]


@pytest.mark.slow
def test_of_a_prompt_only_the_last_place_meets_the_vocabulary(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, exported = both(bench, "decoder")
    graph = exported.engine.graphs["decode"]  # type: ignore[attr-defined]
    run, shapes = graph.run, []

    def noted(*given: Any) -> dict[str, Any]:
        found: dict[str, Any] = run(*given)
        shapes.append(found["logits"].shape()[:2])
        return found

    monkeypatch.setattr(graph, "run", noted)
    rows = [exported.encode(row) for row in bench.rows("decoder")]
    exported.engine.begin([row.input_ids_T for row in rows])
    exported.engine.logits(exported.task.collate(rows, exported.contract))
    assert shapes == [[5, 1], [5, max(len(row.input_ids_T) for row in rows)]]


@pytest.mark.parametrize("name", GENERATORS)
def test_text_exports_know_their_context(name: str, bench: Any) -> None:
    original, exported = both(bench, name)
    row = bench.rows(name)[0]
    expected = next(original.predict([row], max_new_tokens=500))
    assert next(exported.predict([row], max_new_tokens=500)) == expected


def test_an_export_says_what_it_is(bench: Any) -> None:
    exported = bench.export(QUICK)
    facts = exported.metadata
    assert facts["parity"]["passed"] is True
    assert facts["parity"]["checks"]["logit_difference"] < 1e-4
    assert facts["size_bytes"] == sum(facts["sizes"].values())
    assert set(facts["versions"]) >= {"torch", "transformers", "onnx", "onnxruntime"}
    assert facts["model"] == bench.model(QUICK).id
    assert any(isinstance(e, Progress) and e.stage == "export" for e in bench.events)
    assert any(isinstance(e, Notice) and "largest difference" in e.text for e in bench.events)
    assert "holds" in (exported.path / "report.html").read_text()


def test_an_export_tells_nothing_of_the_machine_it_was_made_on(bench: Any) -> None:
    exported = bench.export(QUICK)
    for path in exported.path.iterdir():
        content = path.read_bytes()
        assert b"site-packages" not in content, path
        assert str(bench.root).encode() not in content, path


def test_an_export_runs_without_torch(bench: Any) -> None:
    exported = bench.export(QUICK)
    row = bench.rows(QUICK)[0]
    code = (
        "import sys, json, warnings\n"
        "from llmwright.inference.predictor import Predictor\n"
        f"predictor = Predictor.open({str(exported.path)!r})\n"
        f"answer = next(predictor.predict([{row!r}]))\n"
        "heavy = [m for m in ('torch', 'tensorflow', 'jax') if m in sys.modules]\n"
        "print(json.dumps([answer['label'], heavy]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    label, heavy = json.loads(done.stdout)
    assert heavy == []
    assert label == next(Predictor.open(bench.model(QUICK).path).predict([row]))["label"]


def copy(exported: Artifact, to: Path) -> Path:
    shutil.copytree(exported.path, to, ignore=shutil.ignore_patterns("manifest.json"))
    return to


def broken(bench: Any, folder: Path) -> set[str]:
    """Run verify on a changed export and return the checks that fail."""
    with pytest.raises(CheckError) as error:
        verify(VerifyConfig(target=str(folder)), {}, bench.run)
    assert error.value.code == "INFER-020"
    saved = [event for event in bench.events if isinstance(event, ArtifactSaved)]
    report = json.loads((Path(saved[-1].path) / "verify.json").read_text())
    return {line["name"] for line in report["checks"] if not line["passed"]}


def test_verify_passes_an_export(bench: Any, tmp_path: Path) -> None:
    report = verify(VerifyConfig(target=bench.export(QUICK).id), {}, bench.run)
    assert report.metadata["parity"]["engine"] == "onnx"
    folder = copy(bench.export(QUICK), tmp_path / "elsewhere")
    assert verify(VerifyConfig(target=str(folder)), {}, bench.run).metadata["passed"] is True


def test_verify_finds_a_flipped_byte_in_an_export(bench: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bench.export(QUICK).path, tmp_path / "flipped"))
    weights = folder / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(bytes(content))
    assert "files_intact" in broken(bench, folder)


def test_verify_finds_other_weights_in_an_export(bench: Any, tmp_path: Path) -> None:
    folder = copy(bench.export(QUICK), tmp_path / "weights")
    weights = folder / "model.onnx.data"
    values = np.frombuffer(weights.read_bytes(), dtype=np.float32).copy()
    weights.write_bytes((values * np.float32(1.02)).tobytes())
    assert "logit_difference" in broken(bench, folder)


def test_verify_finds_another_order_of_labels_in_an_export(bench: Any, tmp_path: Path) -> None:
    folder = copy(bench.export(QUICK), tmp_path / "labels")
    contract = Contract.open(folder)
    contract.model_copy(update={"labels": contract.labels[::-1]}).save(folder)
    assert broken(bench, folder) == {"labels"}


def test_a_damaged_graph_is_said(bench: Any, tmp_path: Path) -> None:
    folder = copy(bench.export(QUICK), tmp_path / "graph")
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:5000])
    with pytest.raises(InputError) as error:
        Predictor.open(folder)
    assert error.value.code == "INFER-006"
    assert broken(bench, folder) == {"loads"}


def wrong_probes(folder: Path) -> Probes:
    """The probes of a slightly other model stand for any exporter's mistake."""
    probes = Probes.open(folder)
    for probe in probes.probes:
        assert probe.logits is not None
        probe.logits = probe.logits + np.float32(0.01)
    return probes


def test_failed_parity_is_refused_and_kept(bench: Any) -> None:
    exported = bench.export(QUICK)
    probes = wrong_probes(exported.path)
    table = check(ExportConfig(), exported.path, probes)
    assert [line.name for line in table.failed] == ["logit_difference"]
    with pytest.raises(CheckError, match="largest difference of a logit") as error:
        refuse(table, bench.model(QUICK), bench.run)
    assert error.value.code == "EXPORT-001"
    page = Path(str(error.value.values["report"]))
    assert "does not hold" in page.read_text()
    assert check(ExportConfig(tolerance=0.05), exported.path, probes).passed


@pytest.mark.slow
def test_failed_parity_makes_no_export(bench: Any, tmp_path: Path) -> None:
    source = Path(shutil.copytree(bench.model(QUICK).path, tmp_path / "source"))
    wrong_probes(source).save(source)
    bench.export(QUICK)
    before = [a.id for a in bench.run.store.list() if a.kind == "export"]
    with pytest.raises(CheckError) as error:
        export(ExportConfig(), {"model": Artifact("0" * 16, "model", source, {})}, bench.run)
    assert error.value.code == "EXPORT-001"
    assert [a.id for a in bench.run.store.list() if a.kind == "export"] == before


@pytest.mark.parametrize("name", ["recurrent_decoder", "vae"])
def test_recurrent_generators_have_no_export_yet(name: str, bench: Any) -> None:
    with pytest.raises(InputError, match="no export to onnx yet") as error:
        export(ExportConfig(), {"model": bench.model(name)}, bench.run)
    assert error.value.code == "EXPORT-002"


def test_a_plain_recurrent_cell_has_no_export_yet(bench: Any, tmp_path: Path) -> None:
    source = Path(shutil.copytree(bench.model(QUICK).path, tmp_path / "source"))
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**values, "cell": "rnn"}))
    with pytest.raises(InputError) as error:
        export(ExportConfig(), {"model": Artifact("0" * 16, "model", source, {})}, bench.run)
    assert error.value.code == "EXPORT-003"


@pytest.mark.slow
def test_a_worker_that_takes_too_long_or_dies_is_said(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as late:
        export(ExportConfig(timeout_seconds=0.3), {"model": bench.model(QUICK)}, bench.run)
    assert late.value.code == "EXPORT-006"
    source = Path(shutil.copytree(bench.model(QUICK).path, tmp_path / "source"))
    (source / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError) as damaged:
        export(ExportConfig(), {"model": Artifact("0" * 16, "model", source, {})}, bench.run)
    assert damaged.value.code == "MODEL-011"


def test_a_model_without_probes_is_refused_before_the_work(bench: Any, tmp_path: Path) -> None:
    source = Path(shutil.copytree(bench.model(QUICK).path, tmp_path / "source"))
    (source / "probes.json").unlink()
    with pytest.raises(InputError) as error:
        export(ExportConfig(), {"model": Artifact("0" * 16, "model", source, {})}, bench.run)
    assert error.value.code == "INFER-010"


@pytest.mark.slow
def test_an_encoder_becomes_a_graph_of_vectors(bench: Any) -> None:
    made = bench.export("embedder")
    parity = made.metadata["parity"]
    assert parity["checks"]["vector_difference"] < 1e-4
    assert parity["checks"]["cosine_distance"] < 1e-5
    original, exported = Predictor.open(bench.model("embedder").path), Predictor.open(made.path)
    texts = ["I lost my card.", "今天天气很好", "a" * 200]
    assert exported.engine.graphs["model"].outputs == ["last_hidden_state"]
    assert np.abs(original.embed(texts) - exported.embed(texts, batch_size=1)).max() < 1e-4
