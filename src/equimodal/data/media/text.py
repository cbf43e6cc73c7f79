"""Text as ids of words, as ids of a pretrained tokenizer, or as word vectors."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...errors import ConfigError, DataError
from .glove import open_vectors
from .reader import Reader, needs

__all__ = ["PADDING", "UNKNOWN", "Text", "clean_tweet", "vocabulary", "words_of"]

PADDING, UNKNOWN = 0, 1
WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?|[^\w\s]|_")


@dataclass(frozen=True)
class Text(Reader):
    """A text as a sequence: token ids [L], or vectors [L, D].

    Exactly one of `vectors`, `tokenizer` and `words` is given. A text without any token has the length 1: padding, or the
    zero vector.

    Args:
        vectors: a file of word vectors in the format of GloVe; words that it lacks are the zero vector.
        tokenizer: a pretrained tokenizer: a `tokenizer.json`, or the folder that holds it. Its special tokens are added.
        words: the vocabulary, as `vocabulary` makes it: id 0 is padding, 1 an unknown word, 2 the first of these.
        limit: longest sequence, with the special tokens of a tokenizer; cut at the end, but for those; 0: no limit, or that
            which the tokenizer has of its own.
        clean: tweet: without RT, #, and everything from a link to the end of its line; none.

    Raises:
        ConfigError: none or several of the three are given, or the limit is below 0; when a text is read, that the limit
            has no room for the special tokens.
    """

    costly: ClassVar[bool] = False

    vectors: str = ""
    tokenizer: str = ""
    words: tuple[str, ...] = field(default=(), repr=False)
    limit: int = 0
    clean: Literal["none", "tweet"] = "none"

    def __post_init__(self) -> None:
        given = [name for name in ("vectors", "tokenizer", "words") if getattr(self, name)]
        if len(given) != 1:
            raise ConfigError(
                f"Text is read by one of vectors (a file of word vectors), tokenizer (a tokenizer.json) and words (a "
                f"vocabulary); here {' and '.join(given) or 'none'}."
            )
        if self.limit < 0:
            raise ConfigError(f"limit must be at least 0; here {self.limit}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (-1, open_vectors(Path(self.vectors)).width) if self.vectors else (-1,)

    def decode(self, path: Path | str) -> Tensor:
        """The tokens of a file, or of the text itself if it is a string.

        Raises:
            DataError: the file is missing or has no text.
        """
        return self.encode(self.text(path))

    def text(self, source: Path | str) -> str:
        """The text of a file, or of the string that is given instead of one."""
        return _contents(source) if isinstance(source, Path) else source

    def encode(self, text: str) -> Tensor:
        """The tokens of a text."""
        if self.clean == "tweet":
            text = clean_tweet(text)
        if self.tokenizer:
            ids = _tokenizer(self.tokenizer, self.limit).encode(text).ids
            return torch.tensor(ids or [PADDING], dtype=torch.long)
        words = words_of(text)[: self.limit or None]
        if self.vectors:
            known = open_vectors(Path(self.vectors))
            return torch.from_numpy(known.of(words or [""]))
        places = _places(self.words)
        return torch.tensor([places.get(w, UNKNOWN) for w in words] or [PADDING], dtype=torch.long)


def words_of(text: str) -> list[str]:
    """Words and punctuation marks in lower case, by a regular expression.

    >>> words_of("Don't panic: it's PIZZA!")
    ["don't", 'panic', ':', "it's", 'pizza', '!']
    """
    return WORD.findall(text.lower())


def vocabulary(texts: Iterable[str], least: int = 1) -> tuple[str, ...]:
    """The words that occur at least so often, the most frequent first, equally frequent ones in order of the alphabet."""
    counts = Counter(word for text in texts for word in words_of(text))
    kept = [word for word, count in counts.items() if count >= least]
    return tuple(sorted(kept, key=lambda word: (-counts[word], word)))


def clean_tweet(text: str) -> str:
    """Without RT, #, and everything from a link to the end of its line, as BalanceBenchmark prepares MVSA.

    >>> clean_tweet("RT @a: so #happy http://t.co/x yes")
    '@a: so happy'
    """
    text = re.sub(r"http\S*.*", "", text)
    text = re.sub(r"\bRT\b", "", text).replace("#", "")
    return " ".join(text.split())


def _contents(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if not text.strip():
        raise DataError(f"{path} has no text; write some, or mark the text as missing there.")
    return text


@functools.lru_cache(maxsize=4)
def _places(words: tuple[str, ...]) -> dict[str, int]:
    return {word: i for i, word in enumerate(words, start=2)}


@functools.lru_cache(maxsize=4)
def _tokenizer(where: str, limit: int) -> Any:
    tokenizers = needs("tokenizers", "Reading text by a tokenizer", extra="text")
    path = Path(where)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"{file} does not exist; name a tokenizer.json or the folder that holds one."
        )
    try:
        made = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises its plain Exception
        raise DataError(f"{file} is not a tokenizer of the tokenizers package ({error}).") from None
    made.no_padding()
    if limit:
        special = made.num_special_tokens_to_add(False)
        if limit <= special:
            raise ConfigError(
                f"limit must be above {special}, the special tokens of {file}; here {limit}."
            )
        made.enable_truncation(limit)
    return made
