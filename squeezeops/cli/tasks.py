"""The table of the commands that run a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from squeezeops.cli import reading
from squeezeops.cli.reading import Input
from squeezeops.cli.running import Command, check_encodable, count, note_a_file
from squeezeops.cli.streams import CommandError

ABSENT = argparse.SUPPRESS  # default of options that are passed to the pipeline only if given


def _score(result: dict[str, Any]) -> str:
    return f"{result['score']:.4f}"


# ---- classify --------------------------------------------------------------------------------------------------------

CLASSIFY_OUTPUT = """\
Prints one line per text, in input order: label, score and text, separated by tabs. With --top-k or --all, a line has
several pairs of label and score, best first. --json prints an object per line: {"text", "label", "score"}, or {"text",
"scores": [{"label", "score"}, ...]} with --top-k or --all.

With --pair, texts are pairs, for models of pairs: --pair TEXT is the second text of each; --pair alone says that each
line of --input has a text, a tab and its second text. Lines of output end with both texts; objects have "text_pair".
"""


def _classify_options(parser: argparse.ArgumentParser) -> None:
    ranks = parser.add_mutually_exclusive_group()
    ranks.add_argument("--top-k", type=count, metavar="N", default=ABSENT, help="print the N best labels of a text")
    ranks.add_argument(
        "--all", dest="top_k", action="store_const", const=None, default=ABSENT, help="print all labels of a text"
    )
    parser.add_argument(
        "--pair",
        nargs="?",
        const=True,  # no str, unlike a text
        metavar="TEXT",
        help="second text of each text; without TEXT, lines of --input have a tab and their second text",
    )
    _truncation_option(parser)


def _truncation_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--truncation", action="store_true", default=ABSENT, help="cut texts that are too long for the model"
    )
    _length_option(parser)


def _length_option(parser: argparse.ArgumentParser, more: str = "; implies --truncation") -> None:
    parser.add_argument(
        "--max-length",
        type=count,
        metavar="N",
        default=ABSENT,
        help=f"largest number of tokens, special ones included, instead of the model's{more}",
    )


def _make_text(arguments: argparse.Namespace) -> Callable[..., Any]:
    pair = arguments.pair
    if pair is None:
        return str
    if pair is True:
        if arguments.input is None:
            raise CommandError("--pair: expected a second text, or --input FILE with a tab in each line")
    else:
        _check_option_text("--pair", pair)

    def make(line: str, second: str | None = None) -> dict[str, str]:
        if second is not None:
            return {"text": line, "text_pair": second}
        if pair is not True:
            if "lines" in arguments.formats and "\t" in line:
                raise CommandError(f"expected a text without a tab since --pair has the second text, got {line!r:.40}")
            return {"text": line, "text_pair": pair}
        text, tab, second = line.partition("\t")
        if not tab:
            raise CommandError("expected a text, a tab and its second text, got no tab")
        return {"text": text, "text_pair": second}

    return make


def _check_option_text(option: str, text: str, advice: str = "it is taken as a text") -> None:
    check_encodable(option, text)
    if not text.strip():
        raise CommandError(f"{option}: expected a text, got {text!r:.40}")
    note_a_file(option, text, advice)


def _classify_lines(item: str | dict[str, str], result: Any) -> Iterable[list[str]]:
    ranked = result if isinstance(result, list) else [result]
    texts = [item] if isinstance(item, str) else [*item.values()]
    yield [column for entry in ranked for column in (entry["label"], _score(entry))] + texts


def _classify_json(arguments: argparse.Namespace, item: str | dict[str, str], result: Any) -> dict[str, Any]:
    texts = {"text": item} if isinstance(item, str) else item
    return {**texts, **({"scores": result} if isinstance(result, list) else result)}


# ---- zero-shot -------------------------------------------------------------------------------------------------------

ZERO_SHOT_OUTPUT = """\
The model is one of natural language inference. It reads each text with a hypothesis for each label.

Prints one line per text, in input order: pairs of label and score, best first, then the text, separated by tabs.
--json prints an object per line: {"text", "labels": [...], "scores": [...]}.
"""


def _zero_shot_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        dest="candidate_labels",
        required=True,
        type=_labels,
        action="extend",
        metavar="LABELS",
        help="the labels to choose from, separated by commas; may be repeated",
    )
    parser.add_argument(
        "--template",
        dest="hypothesis_template",
        metavar="TEXT",
        default=ABSENT,
        help="the hypothesis, with {} in place of the label (default: This example is {}.)",
    )
    parser.add_argument("--multi-label", action="store_true", help="rate each label alone: several may be true")
    _length_option(parser, "; longer texts are cut")


def _labels(text: str) -> list[str]:
    return [label.strip() for label in text.split(",") if label.strip()]


def _zero_shot_lines(text: str, result: Any) -> Iterable[list[str]]:
    ranked = zip(result["labels"], result["scores"], strict=True)
    yield [column for label, score in ranked for column in (label, f"{score:.4f}")] + [text]


def _zero_shot_json(arguments: argparse.Namespace, text: str, result: Any) -> dict[str, Any]:
    return {"text": text, "labels": result["labels"], "scores": result["scores"]}


# ---- rerank ----------------------------------------------------------------------------------------------------------

RERANK_OUTPUT = """\
The model is a cross-encoder: it has one label, and rates how well a document answers a query.

Prints one line per document, best first: score, number of the document (from 0) and document, separated by tabs.
--json prints an object per line: {"index", "score", "text"}.
"""


def _rerank_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--query", required=True, metavar="TEXT", help="the query")
    parser.add_argument("--top-k", type=count, metavar="N", help="print the N best documents")
    _length_option(parser, "; longer pairs of query and document are cut")


def _make_document(arguments: argparse.Namespace) -> Callable[[str], tuple[str, str]]:
    query = arguments.query
    _check_option_text("--query", query)
    return lambda line: (query, line)


def _arrange_documents(arguments: argparse.Namespace, results: list[tuple[Input, Any]]) -> list[tuple[Input, Any]]:
    from squeezeops.pipelines.base import by_score

    found = [
        (given._replace(item=given.item[1]), {"index": index, "score": score})
        for index, (given, score) in enumerate(results)
        if given.item is not None
    ]
    found.sort(key=lambda entry: by_score(entry[1]["score"]), reverse=True)  # stable
    return found[: arguments.top_k]


def _rerank_lines(document: str, result: Any) -> Iterable[list[str]]:
    yield [_score(result), str(result["index"]), document]


def _rerank_json(arguments: argparse.Namespace, document: str, result: Any) -> dict[str, Any]:
    return {**result, "text": document}


# ---- tag -------------------------------------------------------------------------------------------------------------

TAG_OUTPUT = """\
Prints one line per entity: label, score, start, end and entity, separated by tabs; a blank line ends each text. start
and end are positions of characters in the text, from 0; end is exclusive. --json prints an object per text: {"text",
"entities": [...]} with entities {"entity_group", "score", "word", "start", "end"}, or with --aggregation none tokens
{"entity", "score", "index", "word", "start", "end"}.
"""


def _tag_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--aggregation",
        dest="aggregation_strategy",
        choices=("none", "simple", "first", "average", "max"),
        default="first",
        help="how tokens become entities: not at all, token by token, or word by word with the label of the first "
        "token, the average or the best (default: %(default)s)",
    )
    parser.add_argument(
        "--ignore-label",
        dest="ignore_labels",
        action="append",
        metavar="LABEL",
        default=ABSENT,
        help="omit entities of this label, instead of O; may be repeated",
    )
    parser.add_argument(
        "--stride",
        type=partial(count, least=0),
        metavar="N",
        default=ABSENT,
        help="split texts that are too long for the model into windows that share N tokens",
    )
    _truncation_option(parser)


def _tag_lines(text: str, result: Any) -> Iterable[list[str]]:
    for entity in result:
        start, end = entity["start"], entity["end"]
        label = entity.get("entity_group", entity.get("entity"))
        yield [label, _score(entity), str(start), str(end), text[start:end]]
    yield []


def _tag_json(arguments: argparse.Namespace, text: str, result: Any) -> dict[str, Any]:
    return {"text": text, "entities": result}


# ---- answer ----------------------------------------------------------------------------------------------------------

ANSWER_OUTPUT = """\
An answer is a part of the context. With --context or --context-file, all questions have the same context, and --input
has one question per line. Otherwise each line of --input has a question, a tab and its context.

Prints one line per question, in input order: answer, score, start, end and question, separated by tabs. start and end
are positions of characters in the context, from 0; end is exclusive. With --top-k there are up to N lines per question,
best first. With --no-answer, an empty answer means that the context has none. --json prints an object per question:
{"question", "score", "start", "end", "answer"}, or {"question", "answers": [{"score", "start", "end", "answer"}, ...]}
with --top-k.
"""


def _answer_options(parser: argparse.ArgumentParser) -> None:
    contexts = parser.add_mutually_exclusive_group()
    contexts.add_argument("--context", metavar="TEXT", help="the text to find the answers in")
    contexts.add_argument("--context-file", metavar="FILE", help="a file with that text; - is standard input")
    parser.add_argument(
        "--top-k", type=count, metavar="N", default=ABSENT, help="print the N best answers of a question"
    )
    parser.add_argument(
        "--max-answer-len",
        type=count,
        metavar="N",
        default=ABSENT,
        help="largest number of tokens of an answer (default: 15)",
    )
    parser.add_argument(
        "--doc-stride",
        type=partial(count, least=0),
        metavar="N",
        default=ABSENT,
        help="tokens that windows of a long context share (default: 128, or half of a window)",
    )
    parser.add_argument(
        "--no-answer",
        dest="handle_impossible_answer",
        action="store_true",
        help="allow an empty answer, for models trained to find none",
    )


def _make_question(arguments: argparse.Namespace) -> Callable[..., dict[str, str]]:
    context = arguments.context
    if context is not None:
        _check_option_text("--context", context, f"--context-file {context} reads it")
    elif arguments.context_file is not None:
        if arguments.context_file == "-" and "-" in (arguments.input or ()):
            raise CommandError("--context-file: expected a file, since --input takes standard input")
        context = reading.read_text("--context-file", arguments.context_file)
    elif arguments.input is None:
        raise CommandError("expected --context TEXT or --context-file FILE (see squeezeops answer --help)")

    def make(line: str, own: str | None = None) -> dict[str, str]:
        if own is not None:
            return {"question": line, "context": own}
        if context is not None:
            if "lines" in arguments.formats and "\t" in line:
                option = "--context" if arguments.context_file is None else "--context-file"
                raise CommandError(f"expected a question without a tab since {option} is given, got {line!r:.40}")
            return {"question": line, "context": context}
        question, tab, own = line.partition("\t")
        if not tab:
            raise CommandError("expected a question, a tab and a context, got no tab (or give --context)")
        return {"question": question, "context": own}

    return make


def _answer_lines(item: dict[str, str], result: Any) -> Iterable[list[str]]:
    for answer in result if isinstance(result, list) else [result]:
        yield [answer["answer"], _score(answer), str(answer["start"]), str(answer["end"]), item["question"]]


def _answer_json(arguments: argparse.Namespace, item: dict[str, str], result: Any) -> dict[str, Any]:
    if "top_k" not in arguments:
        return {"question": item["question"], **result}
    return {"question": item["question"], "answers": result if isinstance(result, list) else [result]}


# ---- fill-mask -------------------------------------------------------------------------------------------------------

FILL_MASK_OUTPUT = """\
A text has the model's mask, usually [MASK], in place of the words to guess.

Prints one line per mask, in input order: pairs of token and score, best first, then the text, separated by tabs.
--json prints an object per text: {"text", "predictions": [...]} with predictions {"score", "token", "token_str",
"sequence"}; with several masks, "predictions" is a list of such lists.
"""


def _fill_mask_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--top-k", type=count, metavar="N", default=5, help="print the N best tokens of a mask (default: %(default)s)"
    )
    parser.add_argument(
        "--target",
        dest="targets",
        action="append",
        metavar="WORD",
        default=ABSENT,
        help="rate this word instead of the whole vocabulary; may be repeated",
    )
    _truncation_option(parser)


def _fill_mask_lines(text: str, result: Any) -> Iterable[list[str]]:
    for ranked in result if isinstance(result[0], list) else [result]:
        yield [column for entry in ranked for column in (entry["token_str"], _score(entry))] + [text]


def _fill_mask_json(arguments: argparse.Namespace, text: str, result: Any) -> dict[str, Any]:
    return {"text": text, "predictions": result}


# ---- embed -----------------------------------------------------------------------------------------------------------

EMBED_OUTPUT = """\
A model with files of sentence-transformers (modules.json) is used as they say, unless an option says otherwise:
pooling, length 1, prompts, truncation. For any other model, an embedding is the mean of all tokens, of length 1.

Prints one line per text, in input order: the numbers of its embedding separated by spaces, a tab, and the text. Each
number is the shortest decimal that gives the same float32. --json prints an object per line: {"text", "embedding":
[...]}.

With --output FILE.npy nothing is printed. The file holds one float32 array of shape (texts, channels), for numpy.load.
It appears when it is complete; after an error, an existing file is unchanged.
"""


def _embed_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pooling",
        type=_poolings,
        metavar="NAME",
        default=ABSENT,
        help="how tokens become one vector: cls (the first), max (of each channel) or mean; several, separated by "
        "commas, are joined",
    )
    _flag(parser, "normalize", "scale embeddings to length 1", "do not scale them")
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", metavar="TEXT", default=ABSENT, help="put this before each text")
    prompts.add_argument(
        "--prompt-name", metavar="NAME", default=ABSENT, help="put one of the model's prompts before each text"
    )
    _flag(parser, "include-prompt", "pool the tokens of a prompt, too", "do not pool them")
    _flag(parser, "truncation", "cut texts that are too long for the model", "refuse them")
    _length_option(parser)


def _flag(parser: argparse.ArgumentParser, name: str, yes: str, no: str) -> None:
    """Add a pair of options, one of which overrides a setting of the model."""
    pair, dest = parser.add_mutually_exclusive_group(), name.replace("-", "_")
    pair.add_argument(f"--{name}", dest=dest, action="store_true", default=ABSENT, help=yes)
    pair.add_argument(f"--no-{name}", dest=dest, action="store_false", default=ABSENT, help=no)


def _poolings(text: str) -> str | tuple[str, ...]:
    return tuple(text.split(",")) if "," in text else text


def _shortest(row: Any) -> list[float]:
    """Return a row of float32 as Python floats with the shortest decimals."""
    import numpy as np

    return [float(str(value)) for value in np.asarray(row, dtype=np.float32)]


def _embed_lines(text: str, result: Any) -> Iterable[list[str]]:
    yield [" ".join(map(repr, _shortest(result))), text]


def _embed_json(arguments: argparse.Namespace, text: str, result: Any) -> dict[str, Any]:
    return {"text": text, "embedding": _shortest(result)}


# ----------------------------------------------------------------------------------------------------------------------

COMMANDS = (
    Command(
        "classify",
        "text-classification",
        summary="label texts",
        description="Label texts, by default as POSITIVE or NEGATIVE with the built-in model.",
        output=CLASSIFY_OUTPUT,
        example="--input reviews.txt --json",
        add_options=_classify_options,
        options=("top_k", "truncation", "max_length"),
        lines=_classify_lines,
        json_object=_classify_json,
        after_noun=", with a tab and its second text after it if --pair is alone",
        make_item=_make_text,
        fields=("text", "text_pair"),
        takes_pairs=lambda arguments: arguments.pair is True,
        built_in=True,
    ),
    Command(
        "zero-shot",
        "zero-shot-classification",
        summary="label texts with labels of your choice",
        description="Label texts with labels of your choice, by a model of natural language inference.",
        output=ZERO_SHOT_OUTPUT,
        example='--model MODEL --labels "sports, politics" "The match was cancelled."',
        add_options=_zero_shot_options,
        options=("candidate_labels", "hypothesis_template", "multi_label", "max_length"),
        lines=_zero_shot_lines,
        json_object=_zero_shot_json,
    ),
    Command(
        "rerank",
        "rerank",
        summary="sort documents by their relevance to a query",
        description="Sort documents by their relevance to a query, by a cross-encoder.",
        output=RERANK_OUTPUT,
        example='--model MODEL --query "how to treat a burn" --input documents.txt --top-k 3',
        add_options=_rerank_options,
        options=("max_length",),
        lines=_rerank_lines,
        json_object=_rerank_json,
        noun="document",
        make_item=_make_document,
        arrange=_arrange_documents,
    ),
    Command(
        "tag",
        "token-classification",
        summary="find the entities in texts",
        description="Find names and other entities in texts.",
        output=TAG_OUTPUT,
        example='--model MODEL "Ada Lovelace lived in London."',
        add_options=_tag_options,
        options=("aggregation_strategy", "ignore_labels", "stride", "truncation", "max_length"),
        lines=_tag_lines,
        json_object=_tag_json,
        if_too_long="--truncation cuts it, --stride takes it in parts",
    ),
    Command(
        "answer",
        "question-answering",
        summary="find the answers to questions in a text",
        description="Find the answers to questions in a text.",
        output=ANSWER_OUTPUT,
        example='--model MODEL --context-file article.txt "Who wrote it?"',
        add_options=_answer_options,
        options=("top_k", "max_answer_len", "doc_stride", "handle_impossible_answer"),
        lines=_answer_lines,
        json_object=_answer_json,
        noun="question",
        after_noun=", with a tab and its context after it unless --context or --context-file is given",
        make_item=_make_question,
        fields=("question", "context"),
        takes_pairs=lambda arguments: arguments.context is None and arguments.context_file is None,
    ),
    Command(
        "fill-mask",
        "fill-mask",
        summary="guess masked words",
        description="Guess the masked words of texts.",
        output=FILL_MASK_OUTPUT,
        example='--model MODEL --top-k 3 "Paris is the [MASK] of France."',
        add_options=_fill_mask_options,
        options=("top_k", "targets", "truncation", "max_length"),
        lines=_fill_mask_lines,
        json_object=_fill_mask_json,
    ),
    Command(
        "embed",
        "feature-extraction",
        summary="turn texts into vectors",
        description="Turn texts into vectors whose dot products measure similarity.",
        output=EMBED_OUTPUT,
        example="--model MODEL --input texts.txt --output texts.npy",
        add_options=_embed_options,
        options=("pooling", "normalize", "prompt", "prompt_name", "include_prompt", "truncation", "max_length"),
        lines=_embed_lines,
        json_object=_embed_json,
        arrays=True,
    ),
)
