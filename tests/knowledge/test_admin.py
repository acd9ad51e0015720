"""Knowledge in the operators' console: lists, pages, adding, row actions, deleting."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from assistants.models import Assistant
from knowledge.actions import add_text
from knowledge.fusion import FITTING_SHARE
from knowledge.lexemes import vector_literal
from knowledge.models import (
    Chunk,
    Document,
    DocumentStatus,
    KnowledgeBase,
    Stage,
    StageRun,
    Upload,
    VectorSpace,
)
from knowledge.spaces import fingerprint
from providers.catalogue import sync_builtin_models
from providers.models import Llm, LlmType

pytestmark = pytest.mark.django_db

DOCUMENTS = "admin:knowledge_document_changelist"


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


@pytest.fixture
def base(alice: User) -> KnowledgeBase:
    sync_builtin_models()
    return KnowledgeBase.objects.create(name="Museum", owner=alice)


def make_document(base: KnowledgeBase, name: str = "Guide.txt", **fields: Any) -> Document:
    """A document with a stored file, at whatever point of its way."""
    document = add_text(base, name=name, content=f"About {name} {fields}")
    Document.objects.filter(pk=document.pk).update(**fields)
    document.refresh_from_db()
    return document


def add_chunks(document: Document, number: int) -> None:
    Chunk.objects.bulk_create(
        Chunk(
            knowledge_base_id=document.knowledge_base_id,
            document=document,
            ordinal=ordinal,
            content=f"The {ordinal}th room shows bronze.",
            heading="Rooms",
            page=ordinal + 1,
            char_start=40 * ordinal,
            char_end=40 * ordinal + 30,
            lexemes=vector_literal(f"The {ordinal}th room shows bronze."),
        )
        for ordinal in range(number)
    )
    Document.objects.filter(pk=document.pk).update(chunks_total=number)


def page_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return response.content.decode()


def list_url(base: KnowledgeBase) -> str:
    return f"{reverse(DOCUMENTS)}?knowledge_base__id__exact={base.pk}"


def send_files(client: Client, base: KnowledgeBase, *files: SimpleUploadedFile) -> list[Any]:
    response = client.post(
        reverse("admin:knowledge_document_add"),
        {"knowledge_base": base.pk, "files": files},
        headers={"Accept": "application/json"},
    )
    assert response.status_code == 200
    answers: list[Any] = response.json()["answers"]
    return answers


# --- adding --------------------------------------------------------------------------------------
def test_it_answers_for_each_file_that_is_added(
    operator: Client, base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge.storage.MAX_FILE_BYTES", 2**20)
    answers = send_files(
        operator,
        base,
        SimpleUploadedFile("rooms.txt", b"Room one shows bronze."),
        SimpleUploadedFile("again.txt", b"Room one shows bronze."),
        SimpleUploadedFile("program.exe", b"MZ"),
        SimpleUploadedFile("large.txt", b"a" * (2**20 + 1)),
    )
    assert [answer["outcome"] for answer in answers] == [
        "added",
        "duplicate",
        "refused",
        "refused",
    ]
    document = Document.objects.get()
    assert document.name == "rooms.txt"
    assert "rooms.txt" in answers[1]["message"]
    assert answers[1]["url"] == reverse("admin:knowledge_document_change", args=[document.pk])
    assert "pdf" in answers[2]["message"]
    assert "1 MB" in answers[3]["message"]


def test_it_adds_files_without_scripts_and_tells_it_on_the_list(
    operator: Client, base: KnowledgeBase
) -> None:
    files = [SimpleUploadedFile("rooms.txt", b"Room one."), SimpleUploadedFile("a.exe", b"MZ")]
    response = operator.post(
        reverse("admin:knowledge_document_add"),
        {"knowledge_base": base.pk, "files": files},
        follow=True,
    )
    assert response.redirect_chain == [(list_url(base), 302)]
    page = response.content.decode()
    assert "rooms.txt: Added" in page
    assert "a.exe: " in page


def test_it_adds_pasted_text_as_a_document(operator: Client, base: KnowledgeBase) -> None:
    url = reverse("admin:knowledge_document_add")
    assert '<details class="adding-text">' in page_of(operator, url)
    sent = {"knowledge_base": base.pk, "name": "Hours", "content": "", "file_type": "md"}
    page = operator.post(url, sent).content.decode()
    assert '<details class="adding-text" open>' in page
    assert "This field is required" in page
    assert not Document.objects.exists()
    sent["content"] = "# Hours\n\nClosed on Mondays."
    assert operator.post(url, sent).status_code == 302
    document = Document.objects.get()
    assert (document.name, document.file_type) == ("Hours", "md")
    with document.file.open() as file:
        assert file.read() == b"# Hours\n\nClosed on Mondays."


def test_it_adds_nothing_to_an_unknown_base(operator: Client, base: KnowledgeBase) -> None:
    for base_id, status in ((base.pk, 302), ("unknown", 404), ("", 404), ("a\0b", 404)):
        sent = {"knowledge_base": base_id, "files": [SimpleUploadedFile("a.txt", b"A.")]}
        response = operator.post(reverse("admin:knowledge_document_add"), sent)
        assert response.status_code == status
    assert Document.objects.count() == 1


def test_it_says_what_to_do_where_there_is_no_base(operator: Client) -> None:
    for name in ("admin:knowledge_document_add", "admin:knowledge_searchrecord_changelist"):
        page = page_of(operator, reverse(name))
        assert reverse("admin:knowledge_knowledgebase_add") in page


# --- the lists -----------------------------------------------------------------------------------
def test_it_counts_the_documents_of_each_base_by_state(
    operator: Client, base: KnowledgeBase
) -> None:
    make_document(base, "a.txt", status=DocumentStatus.READY, chunks_total=7)
    make_document(base, "b.txt", status=DocumentStatus.EMBEDDING)
    make_document(base, "c.txt", status=DocumentStatus.FAILED)
    make_document(base, "d.txt", status=DocumentStatus.FAILED, chunks_total=1)
    page = page_of(operator, reverse("admin:knowledge_knowledgebase_changelist"))
    for text in ("1 ready", "1 in work", "2 failed", ">8<"):
        assert text in page


@pytest.mark.parametrize("model", ["knowledgebase", "document", "upload", "searchrecord"])
def test_it_lists_any_number_of_rows_with_as_many_queries(
    operator: Client, base: KnowledgeBase, alice: User, model: str
) -> None:
    url = reverse(f"admin:knowledge_{model}_changelist")
    embedder = Llm.objects.get(type=LlmType.EMBEDDING)

    def fill(number: int) -> int:
        for _ in range(number):
            row = KnowledgeBase.objects.create(name="Other", owner=alice, embedder=embedder)
            make_document(row)
            VectorSpace.objects.create(
                knowledge_base=row, embedder=embedder, fingerprint="", status="active"
            )
            Upload.objects.create(owner=alice, name="a.txt", file_type="txt", size=1)
            row.searches.create(source="api", query="bronze", hits=1, duration_ms=3)
        with CaptureQueriesContext(connection) as queries:
            page_of(operator, url)
        return len(queries)

    assert fill(2) == fill(6)


def test_it_filters_documents_by_state_and_by_base(operator: Client, base: KnowledgeBase) -> None:
    other = KnowledgeBase.objects.create(name="Other")
    make_document(base, "ready.txt", status=DocumentStatus.READY)
    make_document(base, "failed.txt", status=DocumentStatus.FAILED)
    make_document(base, "open.txt", status=DocumentStatus.PARSING)
    make_document(other, "elsewhere.txt", status=DocumentStatus.READY)
    late = make_document(base, "late.txt")
    Document.objects.filter(pk=late.pk).update(updated_at=timezone.now() - dt.timedelta(hours=1))
    shown = {
        "state=ready": {"ready.txt", "elsewhere.txt"},
        "state=failed": {"failed.txt"},
        "state=open": {"open.txt", "late.txt"},
        "state=late": {"late.txt"},
        f"knowledge_base__id__exact={other.pk}": {"elsewhere.txt"},
        "q=elsewhere": {"elsewhere.txt"},
    }
    for query, names in shown.items():
        page = page_of(operator, f"{reverse(DOCUMENTS)}?{query}")
        found = {name for name in Document.objects.values_list("name", flat=True) if name in page}
        assert found == names, query


def test_it_shows_why_a_document_failed_and_what_it_lacks(
    operator: Client, base: KnowledgeBase
) -> None:
    make_document(
        base, status=DocumentStatus.FAILED, error_message="It is <encrypted>.", warning="No images."
    )
    page = page_of(operator, list_url(base))
    assert "It is &lt;encrypted&gt;." in page
    assert "No images." in page
    assert "Try again" in page


def test_it_says_why_a_document_failed_in_the_operators_language(
    operator: Client, base: KnowledgeBase
) -> None:
    document = make_document(
        base,
        status=DocumentStatus.FAILED,
        error_message="No text was found in the file.",
        warning="3 of 9 pages are images, which were not read: no OCR is installed"
        " (requirements-ocr.txt).",
    )
    StageRun.objects.create(
        document=document, stage=Stage.PARSING, attempt=1, error_message="The file is empty."
    )
    url = reverse("admin:knowledge_document_change", args=[document.pk])
    english = ("No text was found", "pages are images", "The file is empty.")
    page = page_of(operator, url)
    assert all(text in page for text in english)
    chinese = operator.get(url, headers={"Accept-Language": "zh-hans"}).content.decode()
    assert not any(text in chinese for text in english)


def test_it_counts_what_can_be_counted_and_no_more(operator: Client, base: KnowledgeBase) -> None:
    document = make_document(base, status=DocumentStatus.CHUNKING)
    for status, is_counted in ((DocumentStatus.CHUNKING, False), (DocumentStatus.EMBEDDING, True)):
        Document.objects.update(status=status, chunks_total=8, chunks_embedded=2)
        page = page_of(operator, list_url(base))
        assert ("2 / 8" in page, "aria-valuenow" in page) == (is_counted, is_counted)
        assert ("is-uncounted" in page) is not is_counted
        assert "15 %" not in page
    assert str(document) == "Guide.txt"


def test_it_offers_to_delete_a_document_once_and_names_it_as_it_is(
    operator: Client, base: KnowledgeBase
) -> None:
    document = make_document(base, "coffee manual.txt", status=DocumentStatus.READY)
    page = page_of(operator, reverse("admin:knowledge_document_change", args=[document.pk]))
    assert page.count(reverse("admin:knowledge_document_delete", args=[document.pk])) == 1
    assert "coffee manual.txt" in page
    assert "Coffee manual.txt" not in page


# --- refreshing ----------------------------------------------------------------------------------
def test_it_redraws_what_a_page_asks_for(operator: Client, base: KnowledgeBase) -> None:
    document = make_document(
        base, status=DocumentStatus.EMBEDDING, chunks_total=10, chunks_embedded=5
    )
    url = reverse("admin:knowledge_live")
    keys = [f"document:{document.pk}", f"base:{base.pk}", f"spaces:{base.pk}"]
    drawn = operator.get(url, {"key": [*keys, "document:gone", "nonsense"]}).json()
    assert set(keys) < drawn.keys()
    assert "document:gone" not in drawn
    assert 'aria-valuenow="60"' in drawn[keys[0]]
    assert "data-open" in drawn[keys[0]]
    assert "1 in work" in drawn[keys[1]]
    Document.objects.update(status=DocumentStatus.READY)
    assert "data-open" not in operator.get(url, {"key": keys}).json()[keys[0]]


def test_it_redraws_nothing_for_strangers(operator: Client, bob: User, base: KnowledgeBase) -> None:
    url = reverse("admin:knowledge_live")
    assert operator.get(url).status_code == 200
    stranger = Client()
    stranger.force_login(bob)
    assert stranger.get(url).status_code == 302


# --- what can be done with documents -------------------------------------------------------------
def test_it_retries_and_cancels_by_the_buttons_of_a_row(
    operator: Client, base: KnowledgeBase
) -> None:
    document = make_document(base, status=DocumentStatus.FAILED)
    assert f"retry:{document.pk}" in page_of(operator, list_url(base))
    response = operator.post(list_url(base), {"row_action": f"retry:{document.pk}"})
    assert (response.status_code, response["Location"]) == (302, list_url(base))
    document.refresh_from_db()
    assert document.status == DocumentStatus.UPLOADED
    operator.post(list_url(base), {"row_action": f"cancel:{document.pk}"})
    document.refresh_from_db()
    assert document.status == DocumentStatus.CANCELLED
    for wrong in ("explode:" + document.pk, "reread:unknown", "reread"):
        assert operator.post(list_url(base), {"row_action": wrong}).status_code == 404


def test_it_does_nothing_with_documents_by_mere_links(
    operator: Client, base: KnowledgeBase
) -> None:
    document = make_document(base, status=DocumentStatus.FAILED)
    operator.get(reverse(DOCUMENTS), {"row_action": f"reread:{document.pk}"})
    document.refresh_from_db()
    assert document.status == DocumentStatus.FAILED


@pytest.mark.parametrize(
    ("next_url", "is_followed"),
    [
        ("/admin/knowledge/document/x/change/", True),
        ("https://evil.test/", False),
        ("//evil.test", False),
        ("", False),
    ],
)
def test_it_leads_back_to_our_own_pages_only(
    operator: Client, base: KnowledgeBase, next_url: str, is_followed: bool
) -> None:
    document = make_document(base, status=DocumentStatus.READY)
    sent = {"row_action": f"reread:{document.pk}", "next": next_url}
    response = operator.post(reverse(DOCUMENTS), sent)
    assert response.status_code == 302
    assert response["Location"] == (next_url if is_followed else reverse(DOCUMENTS))


def test_it_acts_on_many_documents_at_once(operator: Client, base: KnowledgeBase) -> None:
    documents = [make_document(base, f"{n}.txt", status=DocumentStatus.FAILED) for n in range(3)]
    selected = {"_selected_action": [document.pk for document in documents]}
    page = operator.post(
        reverse(DOCUMENTS), {"action": "retry_selected", **selected}, follow=True
    ).content.decode()
    assert "3 documents are tried again." in page
    assert Document.objects.filter(status=DocumentStatus.UPLOADED).count() == 3
    page = operator.post(
        reverse(DOCUMENTS), {"action": "cancel_selected", **selected}, follow=True
    ).content.decode()
    assert "The work on 3 documents was cancelled." in page
    assert Document.objects.filter(status=DocumentStatus.CANCELLED).count() == 3
    page = operator.post(
        reverse(DOCUMENTS), {"action": "reread_selected", **selected}, follow=True
    ).content.decode()
    assert "3 documents are read again." in page


def test_it_shows_a_document_with_its_stages_and_a_page_of_its_chunks(
    operator: Client, base: KnowledgeBase
) -> None:
    document = make_document(base, status=DocumentStatus.READY, error_message="")
    add_chunks(document, 45)
    started = timezone.now()
    StageRun.objects.create(
        document=document,
        stage=Stage.PARSING,
        attempt=2,
        started_at=started,
        ended_at=started + dt.timedelta(seconds=1.5),
        items=4321,
        error_message="The reader died.",
    )
    url = reverse("admin:knowledge_document_change", args=[document.pk])
    page = page_of(operator, url)
    for text in ("1.5 s", "4321", "The reader died.", "The 19th room", "page 20", "760–790"):
        assert text in page
    assert "The 20th room" not in page
    third = page_of(operator, f"{url}?chunks-page=3")
    assert "The 44th room" in third
    assert "The 39th room" not in third


def test_it_hands_out_the_file_under_its_name(operator: Client, base: KnowledgeBase) -> None:
    document = make_document(base, "Führung.txt")
    url = reverse("admin:knowledge_document_file", args=[document.pk])
    assert "/files/" in operator.get(url)["Location"]
    assert operator.get(url.replace(document.pk, "unknown")).status_code == 404


# --- bases ---------------------------------------------------------------------------------------
SETTINGS = {"description": "", "owner": "", "chunk_size": "400", "chunk_overlap": "40"}


def test_a_new_base_is_its_operators_unless_it_is_given_to_all(
    operator: Client, base: KnowledgeBase, carol: User
) -> None:
    page = operator.get(reverse("admin:knowledge_knowledgebase_add"))
    form = page.context["adminform"].form
    assert form.get_initial_for_field(form.fields["owner"], "owner") == carol.pk
    assert "every user can search it" in page.content.decode()
    sent = {**SETTINGS, "name": "For all", "embedder": ""}
    operator.post(reverse("admin:knowledge_knowledgebase_add"), sent)
    assert KnowledgeBase.objects.get(name="For all").owner is None


def test_it_leads_from_a_new_base_to_adding_documents(
    operator: Client, base: KnowledgeBase
) -> None:
    sent = {**SETTINGS, "name": "Manuals", "embedder": ""}
    response = operator.post(reverse("admin:knowledge_knowledgebase_add"), sent)
    made = KnowledgeBase.objects.get(name="Manuals")
    assert response["Location"] == list_url(made)
    assert made.chunk_size == 400
    assert "data-files" in page_of(operator, list_url(made))


def test_it_offers_embedding_models_only_and_of_the_owner_only(
    operator: Client, base: KnowledgeBase, alice: User, bob: User
) -> None:
    mine = Llm.objects.create(name="Mine", type=LlmType.EMBEDDING, owner=alice)
    his = Llm.objects.create(name="His", type=LlmType.EMBEDDING, owner=bob)
    chat = Llm.objects.create(name="Chat", type=LlmType.TEXT, owner=alice)
    url = reverse("admin:knowledge_knowledgebase_change", args=[base.pk])
    for model, is_taken in ((chat, False), (his, False), (mine, True)):
        sent = {**SETTINGS, "name": "Museum", "owner": alice.pk, "embedder": model.pk}
        assert operator.post(url, sent).status_code == (302 if is_taken else 200), model
    base.refresh_from_db()
    assert base.embedder == mine


def test_it_builds_new_vectors_beside_the_present_ones(
    operator: Client, base: KnowledgeBase
) -> None:
    present = Llm.objects.get(type=LlmType.EMBEDDING)
    other = Llm.objects.create(name="Other", type=LlmType.EMBEDDING, vendor="openai")
    document = make_document(base, status=DocumentStatus.READY)
    add_chunks(document, 2)
    space = VectorSpace.objects.create(
        knowledge_base=base, embedder=present, fingerprint="", status="active", dimensions=4
    )
    for chunk in Chunk.objects.all():
        space.chunkvector_set.create(chunk=chunk, embedding=[1, 0, 0, 0])
    url = reverse("admin:knowledge_knowledgebase_change", args=[base.pk])
    sent = {**SETTINGS, "name": "Museum", "embedder": other.pk, "_continue": "1"}
    page = operator.post(url, sent, follow=True).content.decode()
    assert "New vectors are built" in page
    assert "0 vectors of 2 chunks" in page
    assert "2 vectors of 2 chunks" in page


def test_it_tries_a_build_again_at_once_when_asked(operator: Client, base: KnowledgeBase) -> None:
    present = Llm.objects.get(type=LlmType.EMBEDDING)
    other = Llm.objects.create(name="Other", type=LlmType.EMBEDDING, vendor="openai")
    document = make_document(base, status=DocumentStatus.READY)
    add_chunks(document, 1)
    active = VectorSpace.objects.create(
        knowledge_base=base, embedder=present, fingerprint="", status="active", dimensions=4
    )
    active.chunkvector_set.create(chunk=Chunk.objects.get(), embedding=[1, 0, 0, 0])
    space = VectorSpace.objects.create(
        knowledge_base=base,
        embedder=other,
        fingerprint=fingerprint(other),
        status="building",
        error_code="embedding_failed",
        error_message="Refused.",
        next_attempt_at=timezone.now() + dt.timedelta(minutes=58, seconds=30),
    )
    KnowledgeBase.objects.filter(pk=base.pk).update(embedder=other)
    page = page_of(operator, reverse("admin:knowledge_knowledgebase_change", args=[base.pk]))
    assert "Tried again in 58\xa0minutes." in page
    url = reverse("admin:knowledge_retry_vectors", args=[base.pk])
    assert f'formaction="{url}"' in page
    assert operator.get(url).status_code == 405
    assert operator.post(url.replace(base.pk, "unknown")).status_code == 404
    space.refresh_from_db()
    assert space.next_attempt_at is not None
    assert "The vectors are being built." in operator.post(url, follow=True).content.decode()
    space.refresh_from_db()
    assert space.next_attempt_at is None


def test_it_deletes_a_base_without_loading_its_chunks(
    operator: Client, base: KnowledgeBase
) -> None:
    document = make_document(base, status=DocumentStatus.READY)
    add_chunks(document, 30)
    assistant = Assistant.objects.create(name="Guide")
    assistant.knowledge_bases.add(base)
    url = reverse("admin:knowledge_knowledgebase_delete", args=[base.pk])
    with CaptureQueriesContext(connection) as queries:
        page = page_of(operator, url)
    assert not any('"knowledge_chunk"."content"' in query["sql"] for query in queries)
    assert "used by Guide" in page
    assert "30" in page
    assert operator.post(url, {"post": "yes"}).status_code == 302
    assert not KnowledgeBase.objects.filter(pk=base.pk).exists()
    assert not Chunk.objects.exists()
    assert Assistant.objects.filter(pk=assistant.pk).exists()


def test_it_goes_back_to_the_base_of_a_document_that_it_deletes(
    operator: Client, base: KnowledgeBase
) -> None:
    gone, kept = make_document(base, "gone.txt"), make_document(base, "kept.txt")
    url = reverse("admin:knowledge_document_delete", args=[gone.pk])
    assert "gone.txt" in page_of(operator, url)
    answer = operator.post(url, {"post": "yes"})
    assert (answer.status_code, answer["Location"]) == (302, list_url(base))
    assert Document.objects.get() == kept
    assert operator.post(url, {"post": "yes"})["Location"] == reverse("admin:index")


def test_it_deletes_selected_documents_without_loading_their_chunks(
    operator: Client, base: KnowledgeBase
) -> None:
    gone, kept = make_document(base, "gone.txt"), make_document(base, "kept.txt")
    for document in (gone, kept):
        add_chunks(document, 5)
    sent = {"action": "delete_selected", "_selected_action": [gone.pk]}
    with CaptureQueriesContext(connection) as queries:
        operator.post(reverse(DOCUMENTS), sent)
    assert not any('"knowledge_chunk"."content"' in query["sql"] for query in queries)
    operator.post(reverse(DOCUMENTS), {**sent, "post": "yes"})
    assert Document.objects.get() == kept
    assert Chunk.objects.count() == 5


# --- the playground ------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_it_searches_and_keeps_what_was_asked(operator: Client, base: KnowledgeBase) -> None:
    add_chunks(make_document(base, "Rooms.txt", status=DocumentStatus.READY), 3)
    other = KnowledgeBase.objects.create(name="Other")
    url = reverse("admin:knowledge_searchrecord_changelist")
    assert not base.searches.exists()
    page = operator.get(url, {"bases": [base.pk, other.pk], "query": "bronze <b>"})
    text = page.content.decode()
    assert "Rooms.txt" in text
    assert "<mark>bronze</mark>" in text
    assert "bronze &lt;b&gt;" in text
    assert "<b>" not in text
    assert [row.query for row in base.searches.all()] == ["bronze <b>"]
    assert "Playground" in page_of(operator, f"{url}?bases={base.pk}")
    limited = operator.get(url, {"bases": base.pk, "query": "bronze", "limit": "1"})
    assert limited.content.decode().count('class="hit"') == 1


def test_it_asks_for_bases_and_remembers_them(operator: Client, base: KnowledgeBase) -> None:
    url = reverse("admin:knowledge_searchrecord_changelist")
    chosen = f'<option value="{base.pk}" selected'
    assert chosen not in page_of(operator, url)
    asked = operator.get(url, {"query": "bronze"}).content.decode()
    assert "Choose the knowledge bases to search." in asked
    assert not base.searches.exists()
    operator.get(url, {"query": "bronze", "bases": base.pk})
    assert chosen in page_of(operator, url)


@pytest.mark.django_db(transaction=True)
def test_it_searches_by_the_rule_of_an_assistant(
    operator: Client, base: KnowledgeBase, alice: User
) -> None:
    add_chunks(make_document(base, "Rooms.txt", status=DocumentStatus.READY), 3)
    assistant = Assistant.objects.create(
        name="Guide", owner=alice, knowledge_limit=2, knowledge_min_score=0.6
    )
    assistant.knowledge_bases.add(base)
    detail = page_of(operator, reverse("admin:assistants_assistant_change", args=[assistant.pk]))
    url = reverse("admin:assistants_assistant_search_knowledge", args=[assistant.pk])
    assert url in detail
    filled = operator.get(url)
    assert filled.status_code == 302
    assert f"word_share={FITTING_SHARE}" in filled["Location"]
    form = page_of(operator, filled["Location"])
    for name, value in (("limit", "2"), ("min_score", "0.6"), ("word_share", "0.3")):
        assert f'name="{name}" value="{value}"' in form
    for query, number in (("What is the weather in the garden", 0), ("the bronze", 2)):
        page = page_of(operator, f"{filled['Location']}&query={query}")
        assert page.count('class="hit"') == number, query
        assert "<mark>the</mark>" not in page.lower()
    everything = page_of(
        operator,
        f"{reverse('admin:knowledge_searchrecord_changelist')}?bases={base.pk}"
        "&query=What is the weather in the garden",
    )
    assert everything.count('class="hit"') == 3


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"query": ""}, "This field is required"),
        ({"query": "a", "bases": "unknown"}, "not one of the available choices"),
        ({"query": "a", "limit": "1000"}, "less than or equal to 50"),
        ({"query": "a", "min_score": "x"}, "Enter a number"),
    ],
)
def test_it_says_what_is_wrong_with_a_search(
    operator: Client, base: KnowledgeBase, sent: dict[str, str], message: str
) -> None:
    url = reverse("admin:knowledge_searchrecord_changelist")
    page = operator.get(url, {"bases": base.pk, **sent}).content.decode()
    assert message in page
    assert not base.searches.exists()


def test_it_looks_bases_up_where_there_are_many(operator: Client, base: KnowledgeBase) -> None:
    KnowledgeBase.objects.bulk_create(KnowledgeBase(name=f"Base {n}") for n in range(60))
    url = reverse("admin:knowledge_searchrecord_changelist")
    page = page_of(operator, f"{url}?bases={base.pk}")
    assert "Museum" in page
    assert "Base 1" not in page
    sought = {
        "app_label": "knowledge",
        "model_name": "searchrecord",
        "field_name": "knowledge_base",
        "term": "Base 17",
    }
    found = operator.get(reverse("admin:autocomplete"), sought).json()["results"]
    assert [row["text"] for row in found] == ["Base 17"]
    every = list(KnowledgeBase.objects.values_list("pk", flat=True))
    refused = operator.get(url, {"query": "a", "bases": every}).content.decode()
    assert "At most 50 bases can be searched at once." in refused


# --- the home page -------------------------------------------------------------------------------
def test_it_says_on_the_home_page_what_is_wrong_with_knowledge(
    operator: Client, base: KnowledgeBase
) -> None:
    quiet = page_of(operator, "/admin/")
    assert "documents failed" not in quiet
    make_document(base, "a.txt", status=DocumentStatus.FAILED)
    make_document(base, "b.txt", status=DocumentStatus.FAILED)
    late = make_document(base, "c.txt")
    Document.objects.filter(pk=late.pk).update(updated_at=timezone.now() - dt.timedelta(hours=1))
    VectorSpace.objects.create(
        knowledge_base=base,
        embedder=Llm.objects.get(type=LlmType.EMBEDDING),
        status="active",
        index_state="failed",
        index_error="The disk is full.",
    )
    page = page_of(operator, "/admin/")
    assert "2 documents failed." in page
    assert "1 document waits too long" in page
    assert "Vectors of Museum: The disk is full." in page
    assert "1 in work" in page


def test_it_takes_no_backlog_for_a_missing_worker(operator: Client, base: KnowledgeBase) -> None:
    now = timezone.now()
    long_ago, soon = now - dt.timedelta(hours=1), now + dt.timedelta(seconds=20)
    waiting, other = make_document(base, "a.txt"), make_document(base, "b.txt")
    run = other.stage_runs.create(
        stage=Stage.PARSING, attempt=1, ended_at=long_ago, error_code="broken"
    )
    Document.objects.filter(pk=waiting.pk).update(updated_at=long_ago)

    def is_told() -> bool:
        is_listed = "a.txt" in page_of(operator, f"{reverse(DOCUMENTS)}?state=late")
        assert ("1 document waits too long" in page_of(operator, "/admin/")) is is_listed
        return is_listed

    assert is_told()
    Document.objects.filter(pk=other.pk).update(status=DocumentStatus.PARSING, lease_until=soon)
    assert not is_told()
    Document.objects.filter(pk=other.pk).update(status=DocumentStatus.EMBEDDING)
    assert is_told()
    StageRun.objects.filter(pk=run.pk).update(ended_at=now)
    assert not is_told()
    StageRun.objects.filter(pk=run.pk).update(error_code="cancelled")
    assert is_told()
    StageRun.objects.filter(pk=run.pk).update(stage=Stage.EMBEDDING, error_code="")
    assert is_told()


def test_it_says_what_its_number_of_searches_counts(operator: Client, base: KnowledgeBase) -> None:
    base.searches.create(source="api", query="bronze", hits=0, duration_ms=3)
    page = page_of(operator, "/admin/")
    assert "Recent searches" in page
    assert "1 found nothing; of 7 days, the latest 500 of each base" in page
