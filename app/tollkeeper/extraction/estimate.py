"""What an answer used, where its API did not say.

The rule: one token for every `BYTES_PER_TOKEN` bytes of UTF-8, rounded up. Bytes rather than characters, because they
even out the languages: English has about four letters to a token, and so many bytes; Chinese has about one character and
a third to a token, and a character has three bytes. It needs no tokeniser, and the same bytes always give the same count.

Input is taken from the body of the request with its JSON around it, in place of what chat templates and tool
descriptions add; media inside it count as a fixed number of tokens each (`request.MEDIA_TOKENS`). Output is the text
that went by: content, reasoning that was shown, refusals and the arguments of tool calls. Reasoning that an API keeps to
itself cannot be seen and is not charged. What the API did state is never lowered, and an output limit in the request
is never passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts

BYTES_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens that were used, as far as can be told."""

    tokens_in: int
    tokens_out: int


def estimate(request: RequestFacts | None, reading: Reading) -> Estimate:
    """The tokens of an answer that did not report all of them; what is not billable or of no known API gets nothing."""
    if reading.state == "reported" or reading.dialect is None:
        return Estimate(reading.tokens_in, reading.tokens_out)
    if not reading.billable:
        return Estimate(0, 0)
    return Estimate(
        tokens_in=reading.tokens_in or _input(request),
        tokens_out=max(reading.tokens_out, _output(request, reading.seen_text_bytes)),
    )


def _input(request: RequestFacts | None) -> int:
    if request is None:
        return 0
    size = request.tokens_in_bound if request.text_bytes is None else request.text_bytes
    return _tokens(size)


def _output(request: RequestFacts | None, size: int) -> int:
    tokens = _tokens(size)
    if request is not None and request.tokens_out_bound is not None:
        return min(tokens, request.tokens_out_bound)
    return tokens


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
