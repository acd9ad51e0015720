"""Which option somebody means by what they say, in English or Chinese. Pure.

It takes only what can hardly mean anything else: an option's words, its place, or "cancel", with
nothing around them but courtesies. "The second one, please" is a choice; "what is the second one?"
and "not the second one" are for the model to answer.
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

Language = Literal["en", "zh"]
Tokens = tuple[str, ...]

CHOICE_TOOLS = frozenset({"text_choice_prompt", "voice_choice_prompt"})
# Nobody needs more words to name an option.
MAX_SPOKEN_CHARS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One answer that the prompt offers; `value` is what is meant, where the label differs."""

    id: str
    label: str
    value: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen; None: the user wants none of it."""

    option: Option | None

    @property
    def output(self) -> str:
        """The result of the prompt's call, as a client would send it."""
        chosen = self.option
        result = {
            "selected_id": chosen.id if chosen else None,
            "selected_label": chosen.label if chosen else None,
            "cancelled": chosen is None,
        }
        return json.dumps(result, ensure_ascii=False)


def normalised(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a choice prompt with every option an object; a plain string is a label."""
    options = arguments.get("options")
    if not isinstance(options, list):
        return dict(arguments)
    whole = [
        option if isinstance(option, dict) else {"id": f"opt_{number}", "label": str(option)}
        for number, option in enumerate(options, 1)
    ]
    return {**arguments, "options": whole}


def options_of(arguments: Mapping[str, Any]) -> tuple[Option, ...]:
    """The options of a prompt whose arguments are normalised."""
    options = arguments.get("options")
    return tuple(
        Option(
            str(option.get("id", "")), str(option.get("label", "")), str(option.get("value", ""))
        )
        for option in (options if isinstance(options, list) else [])
        if isinstance(option, dict)
    )


def label_of(output: str) -> str:
    """What a client's result says was chosen; empty where nothing was."""
    try:
        result = json.loads(output)
    except (ValueError, RecursionError):
        return ""
    label = result.get("selected_label") if isinstance(result, dict) else None
    return label.strip() if isinstance(label, str) else ""


def match(spoken: str, options: Sequence[Option], language: Language) -> Choice | None:
    """The choice that the words make; None where they make none, or might make two.

    Both languages are understood in every call; `language` decides what a recogniser's slip
    ("to" for "two") may have been.
    """
    if len(spoken) > MAX_SPOKEN_CHARS:
        return None
    said = _tokens(spoken.casefold().replace("thank you", " "))
    if said[:1] == (_ASKING,):
        named = _named(said, options)
        return Choice(named) if named else None
    readings = _readings(said)
    core = readings[-1]
    for find in (_named, _agreed):
        for words in readings:
            if found := find(words, options):
                return Choice(found)
    if not _CANCEL.isdisjoint(readings):
        return Choice(None)
    if mentioned := _mentioned(said, options) or _partly_named(core, options):
        return Choice(mentioned)
    place = _place(said, language) or _place(core, language)
    if place is None:
        return None
    return _counted(place.number, options) if place.is_bare else _at(options, place.number)


def _one_of(options: Iterable[Option], fits: Callable[[Option], bool]) -> Option | None:
    """The option that fits, if exactly one does."""
    found = [option for option in options if fits(option)]
    return found[0] if len(found) == 1 else None


def _at(options: Sequence[Option], number: int) -> Choice | None:
    index = len(options) if number == _LAST else number
    return Choice(options[index - 1]) if 1 <= index <= len(options) else None


# --- words ---------------------------------------------------------------------------------------
# Without the punctuation between.
_CJK = r"\u2e80-\u2fdf\u3005\u3007\u3040-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")


def _tokens(text: str) -> Tokens:
    """Words without case, accents and marks; each Chinese character is a word."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    plain = unicodedata.normalize("NFC", plain).replace("'", "").replace("’", "")
    return tuple(_TOKEN.findall(plain))


def _phrases(text: str) -> frozenset[Tokens]:
    """What stands between the bars, as words."""
    return frozenset(map(_tokens, text.split("|")))


def _words(text: str) -> frozenset[str]:
    return frozenset(_tokens(text))


# Around a choice these say nothing about it.
_COURTESIES = _words(
    "um uh er erm hm hmm mm well so ok okay oh ah yes yeah right then please thanks just i id ill"
    " im would will could can like want to have take choose pick select prefer get go with for lets"
    " let us me my give make it its is be the a an that this think guess say choice answer option"
    "嗯呃额哦啊呀吧嘛啦那就我要想选择请给来用帮了的这是好谢觉得应该喜欢还"
)
_COURTEOUS_PHRASES = _phrases("那个|这个")
# Who points says no number.
_POINTING = _phrases("the one|this one|that one|a one")
# "Is it the coffee?"
_ASKING = "is"
# Between the name of an option and the courtesies.
_MEASURES = _words("个一杯份种款项号")
# Beside these, one letter is a name and not an article.
_NAMING = _words("option number choice answer letter the 选项择我要")

_YES = _phrases(
    "yes|yeah|yep|yup|sure|ok|okay|right|correct|true|confirm|agree|absolutely|definitely"
    "|是|是的|对|对的|好|好的|行|可以|要|嗯|没错|没问题|同意|确认|确定|愿意"
)
_NO = _phrases(
    "no|nope|nah|wrong|false|decline|reject|disagree"
    "|不|否|不是|不要|不用|不用了|不行|不好|不可以|不对|不同意|不愿意|不了|拒绝"
)
_CANCEL = _phrases(
    "cancel|cancel it|cancel that|cancel this|never mind|nevermind|forget it|forget about it|skip"
    "|skip it|skip this|none|none of them|none of these|none of those|none of the above|neither"
    "|neither of them|nothing|stop|stop it|quit|dismiss|no choice"
    "|取消|算了|不选|不选了|都不要|都不选|都不是|都不用|跳过|放弃|退出|关闭"
)


def _readings(said: Tokens) -> list[Tokens]:
    """The words, and what is left of them as one polite word after the other goes."""
    readings = [said]
    while shorter := _shorter(readings[-1]):
        readings.append(shorter)
    return readings


def _shorter(words: Tokens) -> Tokens:
    """The words without the last polite one, or without the first; empty where none may go."""
    if len(words) < 2:
        return ()
    for length in (2, 1):
        ends = _COURTEOUS_PHRASES if length == 2 else {(word,) for word in _COURTESIES}
        if words[-length:] in ends:
            return words[:-length]
        if words[:length] in ends and words not in _POINTING:
            return words[length:]
    return ()


def _names(option: Option) -> frozenset[Tokens]:
    """Every way in which the option is called."""
    names = map(_tokens, (option.label, option.value, option.id))
    return frozenset(name for name in names if name)


def _named(said: Tokens, options: Sequence[Option]) -> Option | None:
    """The option that is called exactly so."""
    return _one_of(options, lambda option: said in _names(option))


def _agreed(said: Tokens, options: Sequence[Option]) -> Option | None:
    """The option that says yes, or no, in other words than these."""
    meanings = _YES if said in _YES else _NO if said in _NO else frozenset()
    return _one_of(options, lambda option: not meanings.isdisjoint(_names(option)))


def _mentioned(said: Tokens, options: Sequence[Option]) -> Option | None:
    """The option whose name is said in full among courtesies; of several, the longest name."""
    found: dict[int, list[Option]] = {}
    for option in options:
        lengths = [len(name) for name in _names(option) if _is_said(name, said)]
        if lengths:
            found.setdefault(max(lengths), []).append(option)
    longest = found[max(found)] if found else []
    return longest[0] if len(longest) == 1 else None


def _is_said(name: Tokens, said: Tokens) -> bool:
    at = _position(name, said)
    if at is None:
        return False
    allowed = _NAMING if _COURTESIES.issuperset(name) else _COURTESIES | _MEASURES
    return allowed.issuperset(said[:at] + said[at + len(name) :])


def _partly_named(words: Tokens, options: Sequence[Option]) -> Option | None:
    """The only option whose name has these words in it."""
    if _COURTESIES.issuperset(words):
        return None
    return _one_of(
        options,
        lambda option: any(_position(words, name) is not None for name in _names(option)),
    )


def _position(part: Tokens, whole: Tokens) -> int | None:
    for at in range(len(whole) - len(part) + 1):
        if whole[at : at + len(part)] == part:
            return at
    return None


# --- places and numbers --------------------------------------------------------------------------
_LAST = -1
_CARDINALS = _tokens(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
_ORDINALS = _tokens(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
    " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_MISHEARD = {"won": 1, "to": 2, "too": 2, "tree": 3, "for": 4, "fore": 4, "ate": 8}
_DIGITS_ZH = {char: digit for digit, char in enumerate("零一二三四五六七八九")} | {"两": 2}

_NUMBER_ZH = r"[0-9]{1,2}|[一二两三四五六七八九]?十[一二三四五六七八九]?|[一二两三四五六七八九]"
_UNIT_ZH = "[个個项項种種条條款号號]"
# "二号" is a place, "两个" is not.
_PLACE_ZH = re.compile(
    rf"(?P<named>第|选项|選項|序号)(?P<number>{_NUMBER_ZH})(?:{_UNIT_ZH}(?:选项|選項)?)?"
    rf"|(?P<bare>{_NUMBER_ZH})(?P<unit>[号號项項])?"
)
_LAST_ZH = re.compile(rf"最后(?:面)?的?[那这]?一?{_UNIT_ZH}?(?:选项)?")
_PLACE_EN = re.compile(r"(?P<before>(?:(?:option|number|choice|answer|item) )+)?(?P<number>\w+)")
_ORDINAL_EN = re.compile(r"(?:the )?(?P<number>\w+)(?: (?:one|option|choice|answer|item))?")


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """A number that was said; `is_bare` where it might count something else than options."""

    number: int
    is_bare: bool


def _place(said: Tokens, language: Language) -> _Place | None:
    if not said:
        return None
    words = " ".join(said)
    if (found := _ORDINAL_EN.fullmatch(words)) and (number := _ordinal(found["number"])):
        return _Place(number, is_bare=False)
    if found := _PLACE_EN.fullmatch(words):
        number = _cardinal(found["number"], language)
        if number is not None:
            return _Place(number, is_bare=found["before"] is None)
    joined = "".join(said)
    if _LAST_ZH.fullmatch(joined):
        return _Place(_LAST, is_bare=False)
    if found := _PLACE_ZH.fullmatch(joined):
        number = _number_zh(found["number"] or found["bare"])
        return _Place(number, is_bare=not (found["named"] or found["unit"]))
    return None


def _ordinal(word: str) -> int | None:
    if word == "last":
        return _LAST
    if word in _ORDINALS:
        return _ORDINALS.index(word) + 1
    numeral = re.fullmatch(r"([0-9]{1,2})(?:st|nd|rd|th)", word)
    return int(numeral[1]) if numeral else None


def _cardinal(word: str, language: Language) -> int | None:
    if word in _CARDINALS:
        return _CARDINALS.index(word) + 1
    if re.fullmatch(r"[0-9]{1,2}", word):
        return int(word)
    return _MISHEARD.get(word) if language == "en" else None


def _number_zh(numeral: str) -> int:
    if numeral.isascii():
        return int(numeral)
    tens, ten, ones = numeral.rpartition("十")
    return (_DIGITS_ZH.get(tens, 1) * 10 if ten else 0) + _DIGITS_ZH.get(ones, 0)


def _counted(number: int, options: Sequence[Option]) -> Choice | None:
    """A bare number: the option that is about so many of something, else the option's place."""
    numbers = [_numbers_in(option) for option in options]
    if not any(numbers):
        return _at(options, number)
    meant = _one_of(options, lambda option: number in _numbers_in(option))
    return Choice(meant) if meant else None


def _numbers_in(option: Option) -> frozenset[int]:
    words = {*_tokens(option.label), *_tokens(option.value)}
    counts = {int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 9}
    counts |= {_CARDINALS.index(word) + 1 for word in words if word in _CARDINALS}
    return frozenset(counts | {_DIGITS_ZH[word] for word in words if word in _DIGITS_ZH})
