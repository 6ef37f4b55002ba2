"""The summary of an experiment's data: the files as they were read, the splits, and token counts.

It is built when rows are read (`trainables.tasks`) and tokenised (`trainables.data.encoding`). `tunefleet validate` and
a run print it before the first trial; the study store keeps it as JSON; the page and `results --json` show it.
`trainables.data.warnings` derives warnings from it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRead(_Part):
    """One local file as it was read."""

    path: str
    split: str  # train, validation or test, as published
    rows: int
    encoding: str | None = None  # such as utf-8 or cp1252; None for Parquet
    separator: str | None = None  # of CSV and TSV
    quoted: bool | None = None  # of CSV and TSV: double quotes delimit fields
    lines: int | None = None  # of CSV and TSV: lines of rows; more than `rows` if texts span several lines
    shape: str | None = None  # of JSON: how rows are arranged, in words


class SplitSummary(_Part):
    """One split as trials see it."""

    rows: int
    available: int | None = None  # rows before `data.subset` took some of them; None: not recorded
    cut: bool | None = None  # drawn from the training rows; false: published; None: not recorded
    origin: str = ""  # of a published split, the name of the file, or the split of the Hub, that holds it
    classes: dict[str, int] = {}  # rows by class name, in the order of the class ids; empty for regression
    numeric_texts: int = 0  # rows whose text is a number, as in a column of ids or labels
    value_range: tuple[float, float, float] | None = None  # of regression labels: lowest, mean, highest


class TokenSummary(_Part):
    """The texts of one split in tokens."""

    rows: int  # that were tokenised: all of the split, or some of a large one
    median: int  # tokens per row, before cutting
    longest: int  # tokens of the longest row, before cutting
    cut_rows: int  # rows longer than `max_length`
    lost_share: float  # share of all the split's tokens that were cut off, 0 to 1
    unknown_share: float  # share of the split's kept tokens that are the unknown token, 0 to 1


class TokenizerSummary(_Part):
    """The settings with which texts are tokenised."""

    vocabulary: int  # tokens that the tokenizer knows
    max_length: int  # tokens per row at most
    limit: int  # tokens per row that the model can take
    pad_token: str
    pad_id: int
    padding_side: str  # left or right


class DataSummary(_Part):
    """The summary of an experiment's data."""

    source: str  # where the rows are from, in words: a path, a Hub id, or a package's data
    files: tuple[FileRead, ...] = ()  # local files
    ignored: tuple[str, ...] = ()  # files beside them that were not read
    splits: dict[str, SplitSummary]  # train, validation, test
    duplicates: int = 0  # rows left out because their text is in a split already
    near_duplicates: dict[
        str, int
    ] = {}  # by split, rows whose text another split has but for case, punctuation, blanks
    group: str | None = None  # the column of `data.group`
    groups: int = 0  # distinct ones, where there is such a column
    shared_groups: int = 0  # of them, those that stand in two splits, as these were published
    shared_rows: dict[str, int] = {}  # by split, rows of validation and test whose group has training rows
    contradictions: int = 0  # distinct texts that occur with more than one label
    cuts: int = 1  # different cuts between train and validation over the search seeds; this summary is of the first
    empty: int = 0  # rows left out because their text is empty (`data.drop_empty`)
    positive: str | None = None  # the class whose F1 is `f1`, where there are two classes
    unread_fractions: dict[str, float] = {}  # `data.validation_fraction` and the like that are set, by published split
    unlabelled: dict[str, int] = {}  # rows of a published split without labels, which are left out
    instead: str | None = None  # where the test rows come from then: validation or train
    tokens: dict[str, TokenSummary] = {}  # by split; empty until the splits are tokenised
    tokenizer: TokenizerSummary | None = None  # None until a model's tokenizer is known
