"""Folders and files for other programs: plain transformers, llama.cpp's own tokenizer, Ollama."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import InputError, LLMwrightError
from llmwright.core.events import Notice
from llmwright.export.config import ExportConfig
from llmwright.export.export import _say_others, export
from llmwright.export.gguf.modelfile import MARKS, blocks_of, modelfile, template_for
from llmwright.export.gguf.tokens import TEXTS, compare_tokens
from llmwright.export.gguf.write import write_gguf
from llmwright.inference.config import VerifyConfig
from llmwright.inference.engines.llamacpp import library
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.verify import verify
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract, Generation
from llmwright.tokenization.special import CHATML

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|h|>{{ m['role'] }}<|e|>\n\n{{ m['content'] }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|h|>assistant<|e|>\n\n{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<s>be kind</s>{% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TRIMS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }};{% endfor %}"
LAST_ONLY = "{% for m in messages[-2:] %}<{{ m['role'] }}>{{ m['content'] }};{% endfor %}"
BRACES = "{% for m in messages %}{{ '{{' + m['role'] + '}}' + m['content'] }};{% endfor %}"


def exported(bench: Any, name: str, **chosen: Any) -> Artifact:
    return export(ExportConfig(format=chosen), {"model": bench.model(name)}, bench.run)


def notices(bench: Any) -> str:
    return "\n".join(e.text for e in bench.events if isinstance(e, Notice))


@pytest.mark.slow
def test_plain_transformers_writes_the_same(bench: Any) -> None:
    made = exported(bench, "decoder", kind="safetensors", max_file_gb=3e-5)
    shards = sorted(path.name for path in made.path.glob("*.safetensors"))
    assert len([name for name in shards if name.startswith("model-")]) > 1
    assert made.metadata["parity"]["passed"] is True
    assert Contract.open(made.path) == Contract.open(bench.model("decoder").path)
    model, tokenizer = (
        kind.from_pretrained(made.path) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    settings = json.loads((made.path / "generation_config.json").read_text())
    assert settings["eos_token_id"] == Contract.open(made.path).stop_token_ids
    row = bench.rows("decoder")[2]
    asked = tokenizer(row["text"], return_tensors="pt", add_special_tokens=False)
    written = model.generate(input_ids=asked["input_ids"], max_new_tokens=12)[0]
    text = tokenizer.decode(written[asked["input_ids"].shape[1] :], skip_special_tokens=True)
    expected = next(Predictor.open(bench.model("decoder").path).predict([row], max_new_tokens=12))
    assert text == expected["text"]
    report = verify(VerifyConfig(target=made.id), {}, bench.run)
    assert report.metadata["parity"]["engine"] == "torch"


@pytest.mark.slow
def test_a_classifier_as_a_plain_folder_keeps_its_labels(bench: Any) -> None:
    made = exported(bench, "classifier", kind="safetensors")
    model = AutoModelForSequenceClassification.from_pretrained(made.path)
    assert list(model.config.id2label.values()) == Contract.open(made.path).labels


def test_our_own_architectures_are_no_plain_folders(bench: Any) -> None:
    with pytest.raises(InputError) as error:
        exported(bench, "recurrent", kind="safetensors")
    assert error.value.code == "EXPORT-024"


def test_gguf_says_what_others_will_meet(bench: Any) -> None:
    made = exported(bench, "decoder", kind="gguf", precision="bf16")
    told = made.metadata["tokenizer"]
    assert told["compared"] > len(TEXTS)
    # The same kind of tokens; llama.cpp's pattern for GPT-2 is not this tokenizer's in every text.
    assert told["equal"] >= told["compared"] - len(TEXTS)
    content = (made.path / "Modelfile").read_text()
    assert "FROM ./model.gguf" in content
    assert 'TEMPLATE """{{ .Prompt }}"""' in content
    assert 'PARAMETER stop "<eos>"' in content
    assert "PARAMETER num_predict 12" in content
    assert "not verified here" in notices(bench)
    assert made.metadata["parity"]["checks"]["token_agreement"] >= 0.98


def test_a_word_where_llama_cpp_splits_otherwise(bench: Any, byte_bpe: Any, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=len(byte_bpe), num_attention_heads=2, **sizes)
    path = tmp_path / "model.gguf"
    write_gguf(LlamaForCausalLM(config), byte_bpe, path, "bf16", lambda *_: None)
    alike = compare_tokens(path, byte_bpe, ["sunny"])
    assert (alike.compared, alike.equal) == (len(TEXTS) + 1, len(TEXTS) + 1)
    # A blank before the first word is a setting that the file has no place for.
    saved = json.loads(byte_bpe.backend_tokenizer.to_str())
    saved["pre_tokenizer"]["add_prefix_space"] = True
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(saved)))
    found = compare_tokens(path, other, ["sunny"])
    assert found.equal < found.compared
    assert found.example == "sunny"
    info = {"format": "gguf", "vocabulary": "gpt2", "tokenizer": asdict(found)}
    _say_others(info, bench.run)
    assert "other tokens" in notices(bench)
    assert '"sunny"' in notices(bench)


@pytest.mark.slow
def test_without_llama_cpp_nothing_is_called_verified(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "PACKAGE", "a_package_that_is_not_installed")
    library.library.cache_clear()
    try:
        made = exported(bench, "decoder", kind="gguf", precision="q8_0")
    finally:
        library.library.cache_clear()
    assert made.metadata["parity"]["passed"] is False
    assert "not installed" in made.metadata["parity"]["not_verified"]
    assert "q8_0" in notices(bench)
    assert "Not verified here" in (made.path / "report.html").read_text()


@pytest.mark.parametrize("name", ["classifier", "tagger", "recurrent", "filler"])
def test_gguf_refuses_what_it_has_no_place_for(name: str, bench: Any) -> None:
    with pytest.raises(LLMwrightError) as error:
        exported(bench, name, kind="gguf")
    assert error.value.code == "EXPORT-030"


@pytest.mark.parametrize(("name", "code"), [("seq2seq", "EXPORT-020"), ("vae", "EXPORT-002")])
def test_gguf_refuses_writers_it_cannot_run(name: str, code: str, bench: Any) -> None:
    with pytest.raises(LLMwrightError) as error:
        exported(bench, name, kind="gguf")
    assert error.value.code == code


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (CHATML, True),
        (LLAMA3, True),
        (DEFAULT_SYSTEM, True),
        (TRIMS, False),
        (LAST_ONLY, False),
        (BRACES, False),
        ("{{ raise_exception('no') }}", False),
    ],
)
def test_templates_are_translated_where_they_are_blocks(
    template: str, said: bool, byte_bpe: Any
) -> None:
    byte_bpe.chat_template = template
    contract = Contract(
        task="text-generation", row_type="messages", model_type="llama", num_parameters=1,
        fields={}, max_length=48, stop_token_ids=[3], generation=Generation(temperature=0.5),
    )  # fmt: skip
    found = template_for(contract, byte_bpe)
    content, has_template = modelfile("model.gguf", contract, byte_bpe, 64)
    assert has_template is said
    assert ("TEMPLATE" in content.replace("No TEMPLATE", "")) is said
    assert "PARAMETER temperature 0.5" in content
    if not said:
        assert found is None
        return
    blocks = blocks_of(byte_bpe)
    assert blocks is not None
    # What Ollama is told, put together by its rules, is what the model learned from.
    messages = [
        {"role": "user", "content": "a" + MARKS[0]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c\n"},
    ]
    assert blocks.render(messages) == chat.render(byte_bpe, messages, prompt=True)
    assert str(found).count("{{ end }}") == 2 + ("index" in str(found))
