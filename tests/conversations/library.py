"""A small library in two languages, as ingestion stores it, and assistants that use it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accounts.models import User
from assistants.models import Assistant
from knowledge.models import KnowledgeBase
from providers.builtin.hashing import embed_text
from providers.models import Llm
from tests.knowledge.corpus import add_document, make_embedder, make_space

HANDBOOK = (
    "Visitors are welcome in the reading room. Hello and thank you are words that our staff like to"
    " hear, and a smile costs nothing. Coats and bags go into the lockers beside the entrance.",
    "Opening hours. The museum opens at nine in the morning and closes at six in the evening from"
    " Tuesday to Saturday. On Sundays it is open from ten to four. It is closed on Mondays.",
    "Admission costs twelve euros for adults and seven euros for students. Children under six enter"
    " free of charge. The annual pass is sixty euros and also admits one guest.",
    "The café on the second floor serves coffee, tea and cake. A cup of coffee is three euros."
    " Tables cannot be reserved, and dogs have to stay outside on the terrace.",
    "Error ERR-4711 on the ticket machine means that the paper roll is empty. Open the lower flap,"
    " put in a new roll and press the green key for two seconds.",
    "Photographs may be taken without flash. Tripods need a permission, which the office in the"
    " east wing gives on workdays. Drones are forbidden everywhere on the grounds.",
)
MANUAL = (
    "欢迎来到阅览室。你好和谢谢是我们工作人员最喜欢听到的话。外套和背包请存放在入口旁边的储物柜里。",
    "开放时间：博物馆周二至周六上午九点开门，下午六点闭馆。周日十点到四点开放。周一闭馆。",
    "票价：成人票十二欧元，学生票七欧元，六岁以下儿童免费。年票六十欧元，可以携带一位客人入场。",
    "二楼的咖啡厅供应咖啡、茶和蛋糕。一杯咖啡三欧元。座位不能预订，狗只能留在外面的露台上。",
    "售票机显示故障代码 ERR-4711 表示打印纸已经用完。请打开下方的盖板，换上新的纸卷。",
    "可以拍照，但不能使用闪光灯。使用三脚架需要许可，由东楼办公室在工作日办理。",
)


def shelve(
    owner: User,
    *documents: tuple[str, Sequence[str]],
    name: str = "Museum",
    embedder: Llm | None = None,
) -> KnowledgeBase:
    """A base of the owner with documents of the given chunks, each with its vector."""
    base = KnowledgeBase.objects.create(owner=owner, name=name)
    texts: list[str] = []
    for document, chunks in documents:
        add_document(base, chunks, name=document)
        texts += chunks
    vectors = np.stack([embed_text(text) for text in texts])
    make_space(base, embedder or make_embedder(owner), vectors)
    return base


def museum(owner: User) -> KnowledgeBase:
    """The handbook in English and in Chinese."""
    return shelve(owner, ("Handbook.pdf", HANDBOOK), ("手册.pdf", MANUAL))


def librarian(owner: User | None, *bases: KnowledgeBase, **fields: object) -> Assistant:
    """An assistant of the owner that may search the bases."""
    row = Assistant.objects.create(
        **{
            "owner": owner,
            "name": "Ada",
            "language": "en",
            "first_turn_mode": "user_first",
            **fields,
        }
    )
    row.set_knowledge_bases([base.pk for base in bases])
    return row
