"""What users send, under their own names, becomes a canonical row: once, at the door.

Values are read as `prepare` reads them, by the same code: a number is a text, the lines of a poem
are one text, and the turns of a conversation may have the names of OpenAI, ShareGPT or Alpaca.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmwright.core.errors import InputError, closest
from llmwright.data.clean import preprocess
from llmwright.data.content import map_texts
from llmwright.data.readers.record import excerpt_of
from llmwright.data.records import Row
from llmwright.data.shapes.alpaca import ALPACA
from llmwright.data.shapes.conversation import OPENAI, messages_of
from llmwright.data.shapes.shape import RowError, text_of
from llmwright.tasks.contract import Contract

Values = Mapping[str, Any]

# What of a row of each type is an input; the rest is target.
INPUT_COLUMNS = {
    "text": ("text",),
    "pair": ("input",),
    "messages": ("messages",),
    "classification": ("text", "text_pair"),
    "regression": ("text", "text_pair"),
    "tags": ("tokens",),
}
MAX_SHOWN = 60
# What a row without a value, and a request that says nothing, is told the model by.
ANY = "any"
# Stands for a mask while a text is cleaned: no cleaner takes a word for markup.
PLACE = "llmwrightmaskedplace"
FIELD = "controls"


def read_inputs(values: Values, contract: Contract) -> Row:
    """Return the input columns that are there, under their canonical names.

    Raises:
        InputError: A value is no text (``TASK-011``) or no conversation (``TASK-012``).
    """
    row: Row = {}
    for column in INPUT_COLUMNS[contract.row_type]:
        if column == "text_pair" and column not in contract.fields:
            continue
        name = _given_as(column, values, contract)
        if name is not None:
            row[column] = _READ.get(column, as_text)(values, name)
    return row


def refuse_missing(row: Row, values: Values, contract: Contract, takes_blank: bool) -> None:
    """Check that a clean row holds all its input columns.

    Raises:
        InputError: It does not, or one is blank and may not be (``TASK-003``).
    """
    for column in INPUT_COLUMNS[contract.row_type]:
        needed = column != "text_pair" or column in contract.fields
        if needed and (column not in row or (_is_blank(row[column]) and not takes_blank)):
            field = contract.fields.get(column, column)
            full = [str(name) for name, value in values.items() if not _is_blank(value)]
            # A cleaner may have left nothing of the field itself.
            found = [name for name in full if name != field]
            raise InputError("TASK-003", field=field, found=", ".join(found) or "-")


def _is_blank(value: Any) -> bool:
    """Say whether a value holds no character to be read; a number does, a list of blanks not."""
    if isinstance(value, list | tuple):
        return all(_is_blank(item) for item in value)
    return value is None or (isinstance(value, str) and not value.strip())


def cleaned(row: Row, contract: Contract) -> Row:
    """Return a row whose texts are cleaned as `prepare` cleaned those of the dataset."""
    if not contract.preprocessing:
        return row
    if "tokens" in row:
        # Without tags, no token may vanish: the answer has one tag for each.
        return {"tokens": [preprocess(token, contract.preprocessing) for token in row["tokens"]]}
    mask = contract.mask_token

    def clean(text: str) -> str:
        if mask not in text or not mask:
            return preprocess(text, contract.preprocessing)
        return preprocess(text.replace(mask, PLACE), contract.preprocessing).replace(PLACE, mask)

    return map_texts(row, clean)


def _given_as(column: str, values: Values, contract: Contract) -> str | None:
    """Return the name that holds a column: the user's, else ours where it means nothing else."""
    own = contract.fields.get(column, column)
    if values.get(own) is not None:
        return own
    is_free = column not in contract.fields.values()
    return column if is_free and values.get(column) is not None else None


def as_text(values: Values, name: str) -> str:
    """Return a value as text; empty texts stay.

    Raises:
        InputError: It is no text, or holds lone surrogates (``TASK-011``).
    """
    value = values[name]
    try:
        text = value if isinstance(value, str) else text_of(values, name, optional=True)
        text.encode()
    except (RowError, UnicodeEncodeError) as error:
        raise _no_text(name, value) from error
    return text


def as_tokens(values: Values, name: str) -> str | list[str]:
    """Return a list of words, or one text that is still to be cut into words.

    Raises:
        InputError: It is neither (``TASK-011``).
    """
    value = values[name]
    if isinstance(value, str):
        return as_text(values, name)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _no_text(name, value)
    return [as_text({name: item}, name) for item in value]


def _no_text(name: str, value: Any) -> InputError:
    shown = excerpt_of(value if isinstance(value, str) else repr(value))[:MAX_SHOWN]
    return InputError("TASK-011", field=name, value=shown)


def as_messages(values: Values, name: str) -> list[dict[str, str]]:
    """Return the turns of a conversation, behind the system message of a column of its own.

    Raises:
        InputError: They are no conversation (``TASK-012``).
    """
    columns = {"messages": name} | {
        role: column for role, column in OPENAI.columns_in(values).items() if role == "system"
    }
    try:
        system = OPENAI.system(values, columns)
        return _unicode([*system, *messages_of(values[name], name)])
    except RowError as error:
        raise InputError("TASK-012", field=name, reason=error.detail) from error


def alpaca_messages(values: Values) -> list[dict[str, str]] | None:
    """Return the conversation that Alpaca's columns ask for; None where they are not there.

    Raises:
        InputError: They hold no text (``TASK-012``).
    """
    columns = ALPACA.columns_in(values)
    if "instruction" not in columns:
        return None
    try:
        return _unicode(ALPACA.asked(values, columns))
    except RowError as error:
        raise InputError("TASK-012", field=columns["instruction"], reason=error.detail) from error


def _unicode(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    for message in messages:
        as_text(message, "content")
    return messages


_READ = {"tokens": as_tokens, "messages": as_messages}


def read_controls(values: Mapping[str, Any], contract: Contract) -> dict[str, str]:
    """Return the controls that a user sets, as ``controls`` or under their own names.

    Raises:
        InputError: There is no such control (``TASK-030``) or value (``TASK-031``), or
            ``controls`` is no mapping of names to values (``TASK-032``).
    """
    known = contract.choices()
    given = {name: values[name] for name in known if _is_own(name, values, contract)}
    asked = values.get(FIELD) if FIELD not in contract.fields.values() else None
    if asked is not None and (known or isinstance(asked, Mapping)):
        if not isinstance(asked, Mapping):
            raise InputError("TASK-032", value=str(asked)[:60])
        given |= asked
    found = {}
    for name, value in given.items():
        if name not in known:
            raise InputError("TASK-030", name=name, hint=closest(str(name), known))
        if str(value).strip() not in (ANY, *known[name]):
            hint = closest(str(value), known[name])
            choices = ", ".join((ANY, *known[name]))
            raise InputError("TASK-031", name=name, value=value, hint=hint, choices=choices)
        found[name] = str(value).strip()
    return found


def _is_own(name: str, values: Mapping[str, Any], contract: Contract) -> bool:
    """Say whether a value under a control's own name is its value, and not an input."""
    value = values.get(name)
    return name not in contract.fields.values() and value is not None and str(value).strip() != ""
