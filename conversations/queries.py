"""What to look for in the knowledge, given what the user says. Pure.

Two questions are decided by words alone, so that they cost nothing: whether anything can be looked
for at all (not for a greeting, a thank-you or a sum), and whether what was said stands on its own
or leans on the question before, as "and on Sundays?" does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from providers.wording import terms_of

MAX_QUERY_CHARS = 500
# How far back a chain of questions that lean on one another is followed.
MAX_EARLIER = 3

_PLEASANTRIES = re.compile(
    r"""\b(?:
      hello | hi | hey | hiya | good\ (?:morning|afternoon|evening|night|day) | welcome
    | thanks? (?:\ you)? (?:\ (?:so|very)\ much|\ a\ lot)? | cheers | please | sorry | excuse\ me
    | ok(?:ay)? | yes | yeah | yep | no | nope | sure | right | alright | great | perfect | cool
    | nice (?:\ to\ meet\ you)? | fine | i\ see | got\ it | understood | never\ ?mind
    | (?:good)?bye | see\ you (?:\ (?:later|soon))? | take\ care
    | how\ are\ you (?:\ doing)? (?:\ today)? | how\ do\ you\ do | what(?:'s|\ is)\ up
    | (?:who|what)\ are\ you | what(?:'s|\ is)\ your\ name | what\ can\ you\ do
    | (?:can|do)\ you\ hear\ me | are\ you\ there
    | what\ (?:time|day)\ is\ it (?:\ (?:now|today))? | what(?:'s|\ is)\ the\ (?:time|date)
    | uh+ | um+ | hm+ | well | there
    )\b
    | [你您]好 | 嗨 | 哈[喽啰] | 喂 | [早上中下午晚]{1,2}好 | [早晚]安
    | 多?谢+[你您了]? | 感谢 | 辛苦了 | 不客气 | 没关系 | 没事 | 对不起 | 不好意思
    | 再见 | 拜拜 | 好的?[吧呀啊]? | 嗯+ | 哦+ | 行[吧啊]? | 不?可以 | 不?对 | 不?是的? | 不用了?
    | 你是谁 | 你叫什么(?:名字)? | 你[能会]做?什么 | 在吗 | 听得?[到见]吗
    | (?:现在)?几点[了钟]+ | 现在(?:是)?几点 | 今天(?:是)?(?:星期几|周几|几号)
    | [吗呢吧啊呀了的]
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OPERATOR = re.compile(
    # A minus needs room around it: 4711-08 is a number of some article.
    r"[+*×÷^=]|\s[-/]\s|\b(?:plus|minus|times|multiplied|divided|power|squared|percent|sum)\b|[加减乘除]",
    re.IGNORECASE,
)
_SUM = re.compile(
    r"""\b(?:
      what(?:'s|\ is)? | how\ much\ is | calculate | compute | of | by | to | the | and | point
    | plus | minus | times | multiplied | divided | power | squared | percent | sum | equals?
    | zero | one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve
    | (?:thir|four|fif|six|seven|eigh|nine)(?:teen|ty) | twenty | hundred | thousand | million
    )\b
    | 请问? | 等于 | 多少 | 是 | 得几? | 加上? | 减去? | 乘以? | 除以?
    | [零〇一二两三四五六七八九十百千万亿点] | [\d.,%()（）] | [-+*/×÷^=]
    """,
    re.IGNORECASE | re.VERBOSE,
)
# How somebody goes on about the same thing.
_LEANS = re.compile(
    r"""^\W*(?:(?:and|but|or|then|so|also|what\ about|how\ about|what\ if)\b
           | 那 | 还有 | 另外 | 然后 | [它他她]们? | 这[个些]?(?:呢|是|要|怎|多|能|可|有|在) | 其)
    | \b(?:it|its|they|them|their|this|that|these|those)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A few words are a whole question where they ask in words: "where is parking?".
_ASKS = re.compile(
    r"\b(?:what|which|who|when|where|how|is|are|do|does|can|could|will)\b"
    r"|什么|多少|多久|几|哪|怎|谁|是否|有没有|能不能",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")


def queries_for(text: str, earlier: Sequence[str]) -> tuple[str, ...]:
    """What to look for to answer `text`: nothing, the text, or also the text with what it leans on.

    `earlier` is what the user said before, oldest first.
    """
    said = _flat(text)
    if not _asks_something(said):
        return ()
    own = (said,) if _content(said) else ()
    if not _leans(said):
        return own
    context = _stands_before(earlier)
    return (_cut(f"{context} {said}"), *own) if context else own


def _stands_before(earlier: Sequence[str]) -> str:
    """The last questions up to one that stands on its own, in order; "" where there is none."""
    found: list[str] = []
    for text in map(_flat, reversed(earlier)):
        if not _asks_something(text):
            continue
        found.insert(0, text)
        if not _leans(text):
            return " ".join(found)
        if len(found) == MAX_EARLIER:
            break
    return " ".join(found) if any(map(_content, found)) else ""


def _asks_something(said: str) -> bool:
    rest = _PLEASANTRIES.sub(" ", said)
    if _OPERATOR.search(rest):
        rest = _SUM.sub(" ", rest)
    return _WORD.search(rest) is not None


def _leans(said: str) -> bool:
    content = _content(said)
    is_whole = content > 1 or (content > 0 and _ASKS.search(said))
    return _LEANS.search(said) is not None or not is_whole


def _content(said: str) -> float:
    """How much is asked for, in words."""
    return sum(term.size for term in terms_of(_PLEASANTRIES.sub(" ", said)))


def _flat(text: str) -> str:
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    """The end of what was said: that is where a long speech comes to its question."""
    return text[-MAX_QUERY_CHARS:]
