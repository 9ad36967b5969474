"""What can be set about `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from llmwright.core.config import Choice, Config, LocalPath, Name
from llmwright.core.locale import text
from llmwright.core.registry import Registry
from llmwright.data.cleaners import Cleaner
from llmwright.data.records import SplitName, TaskName

if TYPE_CHECKING:
    from llmwright.data.readers.record import Reader
    from llmwright.data.shapes.shape import Shape

Paths = str | list[str]

CLEANERS: Registry[type[Cleaner]] = Registry(
    "cleaner",
    {
        "html": "llmwright.data.cleaners:HtmlCleaner",
        "unicode": "llmwright.data.cleaners:UnicodeCleaner",
        "control": "llmwright.data.cleaners:ControlCleaner",
        "whitespace": "llmwright.data.cleaners:WhitespaceCleaner",
        "dedupe": "llmwright.data.cleaners:DedupeCleaner",
        "length": "llmwright.data.cleaners:LengthCleaner",
    },
)

# A reader whose name is a file extension is taken for files with that extension.
READERS: Registry[Reader] = Registry(
    "reader",
    {
        "csv": "llmwright.data.readers.delimited:read_csv",
        "tsv": "llmwright.data.readers.delimited:read_tsv",
        "json": "llmwright.data.readers.json_file:read_json",
        "jsonl": "llmwright.data.readers.json_lines:read_json_lines",
        "parquet": "llmwright.data.readers.parquet:read_parquet",
        "text": "llmwright.data.readers.text:read_text",
        "conll": "llmwright.data.readers.conll:read_conll",
        "labelled": "llmwright.data.readers.labelled:read_labelled",
    },
)

SHAPES: Registry[Shape] = Registry(
    "shape",
    {
        "documents": "llmwright.data.shapes.documents:DOCUMENTS",
        "alpaca": "llmwright.data.shapes.alpaca:ALPACA",
        "sharegpt": "llmwright.data.shapes.conversation:SHAREGPT",
        "openai": "llmwright.data.shapes.conversation:OPENAI",
        "completion": "llmwright.data.shapes.pair:COMPLETION",
        "pair": "llmwright.data.shapes.pair:PAIR",
        "preference": "llmwright.data.shapes.preference:PREFERENCE",
        "kto": "llmwright.data.shapes.preference:KTO",
        "classification": "llmwright.data.shapes.classification:CLASSIFICATION",
        "multi_label": "llmwright.data.shapes.classification:MULTI_LABEL",
        "regression": "llmwright.data.shapes.regression:REGRESSION",
        "tags": "llmwright.data.shapes.tags:TAGS",
    },
)


class SplitConfig(Config):
    """How rows are shared out between training, validation and test."""

    validation: float | None = Field(None, ge=0, lt=1)
    """Share of the rows for validation, which chooses the best checkpoint. When not given: 0.1, or
    the given validation split."""
    test: float | None = Field(None, ge=0, lt=1)
    """Share of the rows for the final test. When not given: 0.1, or the given test split; next to
    given splits none is cut unless a share is set."""
    seed: int = Field(42, ge=0)
    """Seed of the shuffle: the same seed and rows give the same splits."""
    method: Literal["auto", "random", "stratified", "sequential", "given"] = "auto"
    """random: by chance. stratified: every label in the same proportion. sequential: the first part
    trains, the last part tests; one single text is cut by characters. given: only the files or
    folders that are given as splits. auto: given where splits are given, stratified for labels,
    sequential for one single text, else random."""
    group: str | None = None
    """The user's column whose rows stay together: rows with the same value never lie in two splits.
    Rows with the same text stay together anyway."""
    leaks: Literal["warn", "remove"] = "warn"
    """What to do when given splits share rows: say how many, or also remove them from training."""

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if (self.validation or 0) + (self.test or 0) >= 1:
            raise ValueError(text("data.no_rows_left"))
        return self


class PrepareConfig(Config):
    """Import text in any common format, recognise what it is, clean it, report and split it."""

    source: Annotated[Paths | dict[SplitName, Paths], LocalPath()]
    """File, folder, glob (`data/*.csv`) or a list of them; or a mapping of given splits:
    {train: a.csv, validation: b.csv, test: c.csv}. Paths start at the project's folder;
    typed on the command line, at the current one."""
    format: Annotated[str | None, Name(READERS)] = None
    """Format of the files; found by extension and content when not given. `labelled` reads lines
    that begin with a label and a space (TREC, fastText)."""
    encoding: str | None = None
    """Character encoding, as in utf-8 or gb18030; found by content when not given."""
    delimiter: str | None = Field(None, min_length=1)
    """Character between columns (`tab` for a tab); found by content when not given."""
    quoted: bool | None = None
    """Whether double quotes enclose cells; found by content when not given."""
    header: bool | None = None
    """Whether the first record names the columns; found by content when not given. Without a header
    the columns are called column_1, column_2 and so on."""
    json_path: str | None = None
    """Dotted keys that lead to the list of rows inside a JSON file (`data.items`); lists on the way
    are walked through. Not needed where the file has one list of objects."""
    document: Literal["line", "paragraph", "file"] = "file"
    """What one document is in plain text: a line, a paragraph between blank lines, or the whole
    file, the only choice that changes nothing."""
    shape: Annotated[str | None, Name(SHAPES)] = None
    """What the rows are (alpaca, classification, pair ...); recognised when not given."""
    task: TaskName | None = None
    """What the rows are for; follows from the shape when not given. `text-regression` takes the
    numbers of the label column as numbers, which happens by itself only where most are no
    labels, as 3.8 or 4.25."""
    columns: dict[str, str] = {}
    """Our column → the user's column, as in {input: description, target: weather} or {text: review,
    label: stars}. What is given here is never guessed."""
    label_separator: str | None = Field(None, min_length=1)
    """Text between the labels of one cell; makes the data multi-label."""
    label_names: list[str] = []
    """Names of labels that are written as numbers: 0 is the first name. Empty: labels stay as they
    are."""
    controls: list[str] = []
    """The user's columns that say how an answer is to be (tone, length class), for models that
    write. Each value becomes a token before the input; the model is then asked by it, as in
    `controls: {tone: formal}`."""
    clean: list[Annotated[Cleaner, Choice(CLEANERS)]] = []
    """Cleaners in order: html, unicode, control, whitespace, dedupe, length or a plugin's. None by
    default: the data stays as it is. Cleaners that change text also run at inference."""
    split: SplitConfig = SplitConfig()
    """How rows are shared out between training, validation and test."""
    max_rejected: float = Field(0.05, ge=0, le=1)
    """Largest share of records that may be unreadable or lack a needed value. Rows removed by a
    cleaner do not count."""
    max_rows: int | None = Field(None, ge=1)
    """Stop after this many records, of each split where splits are given, for a quick look; all
    when not given."""
    max_record_bytes: int = Field(16 * 1024 * 1024, ge=1)
    """Largest record, counted in characters: one byte each in English, up to four in other
    scripts. A larger one is rejected without being held in memory, except in a .json file, which is
    always read whole."""

    @model_validator(mode="before")
    @classmethod
    def _plain_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("delimiter") in ("tab", "\\t"):
            return {**values, "delimiter": "\t"}
        return values

    def local_files(self, root: Path) -> list[Path]:
        """Return the files that will be read."""
        from llmwright.data.sources import find_files

        return [file.path for file in find_files(self.source, root)]
