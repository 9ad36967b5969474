"""Tokenizers and contracts for tests of tasks."""

from __future__ import annotations

import pytest

from llmwright.data.records import DatasetInfo
from llmwright.tasks.judged import served
from llmwright.tasks.make_contract import ContractRequest, make_contract, task_of
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHAT_ROLES, CHATML, Framing, ensure_mask

TEXT = "the cat sat on the mat, and the dog said: no way! 今天天气很好 ok Rome Oslo Ada 0123456789"


@pytest.fixture
def make():
    """Return a function that makes task, tokenizer and contract of a row type."""

    def build(task, row_type, *, kind="char", frame="none", labels=(), max_length=64, **more):
        template = more.pop("template", CHATML)
        tokenizer = TOKENIZERS.get(kind)(
            TokenizeConfig(kind=kind, vocab_size=300),
            [TEXT, *CHAT_ROLES],
            Framing(frame=frame, chat_template=template),
        )
        info = DatasetInfo(
            task=task,
            row_type=row_type,
            shape=row_type,
            fields=more.pop("fields", {}),
            labels=sorted(labels),
            multi_label=more.pop("multi_label", False),
        )
        info = served(info, more.pop("makes", ""))
        if info.task == "fill-mask":
            ensure_mask(tokenizer)
        request = ContractRequest(info, tokenizer, None, 1, max_length, **more)
        contract = make_contract(request)
        if task == "seq2seq":
            special = {**contract.special_tokens, "decoder_start": tokenizer.bos_token_id}
            contract = contract.model_copy(update={"special_tokens": special})
        return task_of(info), tokenizer, contract

    return build
