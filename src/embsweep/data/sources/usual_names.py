"""Usual names of columns: recognised where a file lacks the columns `anchor` and `positive` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

QUERIES = (
    *("anchor", "query", "question", "q", "query_text", "question_text", "user_query", "search_query"),
    *("frage", "anfrage", "pregunta", "consulta", "requête", "domanda", "pergunta", "vraag"),
)
PASSAGES = (
    *("positive", "pos", "passage", "answer", "context", "document", "response", "chunk", "doc"),
    *("positive_passage", "positive_passages", "positive_document", "positive_ctxs", "answers", "passage_text"),
    *("antwort", "respuesta", "resposta", "réponse", "risposta", "antwoord"),
)
"""Names that are taken for the query and the passage, in lower case."""

UNJUDGED = ("passages", "contexts", "ctxs", "documents")
"""Names of lists of passages of which some may not be relevant: only proposed, also beside a usual name."""

PROPOSED = (
    *(("sentence1", "sentence2"), ("sentence_A", "sentence_B"), ("text1", "text2"), ("text_a", "text_b")),
    *(("title", "body"), ("title", "text"), ("title", "content"), ("summary", "text"), ("set1", "set2")),
    *(("instruction", "output"), ("prompt", "response"), ("prompt", "completion"), ("input", "output")),
    *(("premise", "hypothesis"), ("source", "target")),
)
"""Names of two columns that may be query and passage: only proposed."""

GROUPS = (
    *("doc_id", "document_id", "docid", "doc", "document", "document_name", "source", "source_id", "source_file"),
    *("file", "file_name", "filename", "file_path", "url", "parent_id", "article_id"),
)
"""Names of columns that may tell which document a passage is a part of."""

LABELS = (
    *("label", "labels", "score", "relevance", "relevant", "is_relevant", "similarity", "similarity_score"),
    *("is_duplicate", "is_selected", "rating", "match", "is_match", "target"),
)
"""Names of columns that may say that a row's passage does not answer its query."""

PASSAGE_TEXTS = ("text", "passage", "content", "contents", "body", "document", "chunk", "page_content", *PASSAGES[:2])
"""Names of the column of texts in a file of passages, the most usual first."""

_NEGATIVE = re.compile(r"(?:hard_)?neg(?:ative)?s?(?:_(?:passages?|documents?|ctxs))?(?:_?\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d+$")


def find_usual(usual: Iterable[str], present: Iterable[str]) -> list[str]:
    """Return the columns whose name is one of the usual ones, in the order of these; case does not matter."""
    by_name = {name.strip().lower(): name for name in reversed(list(present))}
    return [by_name[name] for name in usual if name in by_name]


def find_negatives(present: Iterable[str]) -> list[str]:
    """Return the columns with a usual name of hard negatives, those with a number in its order."""
    return sort_numbered(name for name in present if _NEGATIVE.fullmatch(name.strip()))


def sort_numbered(names: Iterable[str]) -> list[str]:
    """Sort names by the number at their end, so that `negative_10` comes after `negative_9`; else keep the order."""
    return sorted(names, key=lambda name: int(number[0]) if (number := _NUMBER.search(name)) else 0)


def find_proposals(present: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns that may be the query and the passage, the likeliest first."""
    queries, passages = find_usual(QUERIES, present), find_usual((*PASSAGES, *UNJUDGED), present)
    for query, passage in PROPOSED:
        one, other = find_usual([query.lower()], present), find_usual([passage.lower()], present)
        if one and other and not (queries and passages):
            queries, passages = queries or one, passages or other
    return queries, passages
