"""The voice page: who may open it, in which language, and what its script is told."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.templatetags.static import static
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.principals import Principal, identity_for_request, principal_for_user
from assistants.access import access_assistant_to_talk
from assistants.models import Assistant, Language
from core.errors import NotFound, Unauthenticated
from core.languages import asked_language

SOCKET_URL = "/ws"
TICKETS_URL = "/api/v1/voice/tickets"
PAGE_LANGUAGES = {Language.EN: "en", Language.ZH: "zh-hans"}


@never_cache
@require_safe
def talk(request: HttpRequest, assistant_id: str) -> HttpResponse:
    """The page of one assistant, or a 404 page on which a key may be typed.

    Unknown and private assistants look alike to whoever may not talk to them.
    """
    principal, is_console = principal_of_page(request)
    assistant = assistant_of_page(principal, assistant_id)
    with translation.override(language_of_page(request, assistant)):
        response = render(
            request,
            "realtime/talk.html",
            {
                "assistant": assistant,
                "is_signed_in": principal is not None,
                "talk": {
                    "assistantId": assistant_id,
                    "access": _access(principal, assistant),
                    # Who tries an assistant out from the console is no caller.
                    "source": "debug" if is_console else "talk",
                    "hasVoice": assistant.voice_output_enabled if assistant else True,
                    "socketUrl": SOCKET_URL,
                    "ticketsUrl": TICKETS_URL,
                    "csrfToken": get_token(request),
                    # The page's policy forbids the SDK to make them from its own source.
                    "worklets": {
                        "captureWorkletUrl": static("sdk/capture.worklet.js"),
                        "playbackWorkletUrl": static("sdk/playback.worklet.js"),
                    },
                    "words": _words(),
                },
            },
            status=200 if assistant else 404,
        )
        response["Content-Language"] = translation.get_language() or "en"
    response["Content-Security-Policy"] = content_security_policy(request)
    response["Permissions-Policy"] = "camera=(self), microphone=(self)"
    response["Vary"] = "Accept-Language, Cookie"
    return response


def principal_of_page(request: HttpRequest) -> tuple[Principal | None, bool]:
    """Who opened the page: by a credential, or (then True comes with it) the console's session."""
    try:
        identity = identity_for_request(request)
    except Unauthenticated:
        return None, False
    if identity is not None:
        return identity.principal, False
    if request.user.is_authenticated:
        return principal_for_user(request.user), True
    return None, False


def assistant_of_page(principal: Principal | None, assistant_id: str) -> Assistant | None:
    try:
        return access_assistant_to_talk(principal, assistant_id)
    except NotFound:
        return None


def _access(principal: Principal | None, assistant: Assistant | None) -> str:
    """How the script gets in: with a `ticket` of the session, `open`, or a `key` typed in."""
    if assistant is None:
        return "key"
    return "open" if principal is None else "ticket"


def language_of_page(request: HttpRequest, assistant: Assistant | None) -> str:
    """The first language of the browser that we speak, else the assistant's."""
    if asked := asked_language(request.headers.get("Accept-Language", "")):
        return asked
    if assistant is None:
        return translation.get_language() or "en"
    return PAGE_LANGUAGES[Language(assistant.language)]


def content_security_policy(request: HttpRequest) -> str:
    # Older Safari does not count ws:// as 'self'.
    host = request.get_host()
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "worker-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "media-src 'self'",
            f"connect-src 'self' ws://{host} wss://{host}",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _words() -> dict[str, str]:
    """What the script says to people."""
    return {
        "idle": _("Ready"),
        "connecting": _("Connecting…"),
        "listening": _("Listening"),
        "hearing": _("Hearing you"),
        "thinking": _("Thinking…"),
        "speaking": _("Speaking"),
        "choosing": _("Waiting for your choice"),
        "reconnecting": _("Reconnecting…"),
        "ended": _("Call ended"),
        "muted": _("Microphone off"),
        "start": _("Start call"),
        "again": _("Call again"),
        "reconnect": _("Reconnect"),
        "hangUp": _("Hang up"),
        "mute": _("Turn microphone off"),
        "unmute": _("Turn microphone on"),
        "dismiss": _("Dismiss"),
        "you": _("You"),
        "assistant": _("Assistant"),
        "interrupted": _("interrupted"),
        "newCall": _("New call"),
        "seconds": _("{seconds} s"),
        "serverLatency": _("Answered in {seconds}"),
        "heardLatency": _("heard after {seconds}"),
        "toolRunning": _("Uses the tool “{name}”…"),
        "toolDone": _("Used the tool “{name}”"),
        "toolFailed": _("The tool “{name}” failed"),
        "toolUnsupported": _(
            "The assistant asked this device for “{name}”, which this page cannot do."
        ),
        "toolLate": _("{text} – no answer in time"),
        "toolWithdrawn": _("{text} – withdrawn"),
        "message": _("Message: {text}"),
        "messageOk": _("OK"),
        "chosen": _("{text} – You chose: {label}"),
        "notChosen": _("{text} – You chose nothing"),
        "choiceCancel": _("None of these"),
        "choiceHint": _("Choose, or press the option's number."),
        "choiceHintVoice": _("Choose, or say the option or its number."),
        "choiceHintHold": _("Choose, or hold to talk and say the option or its number."),
        "promptMore": _("{count} more after this"),
        "timeLeft": _("{seconds} s left"),
        "cameraTurningOn": _("Turning the camera on…"),
        "cameraOn": _("Camera on"),
        "cameraOff": _("Camera off"),
        "camera.denied": _(
            "The browser may not use the camera. Allow it in the address bar and ask again."
        ),
        "camera.missing": _("No camera was found."),
        "camera.busy": _("Another program is using the camera."),
        "camera.insecure": _("Browsers allow the camera only over HTTPS or on localhost."),
        "volume": _("Volume"),
        "volumeIs": _("Volume: {level}%"),
        "noSound": _("This call has no sound whose volume could be changed."),
        "percent": _("{level}%"),
        "searchRunning": _("Looking it up in the documents…"),
        "searchDone": _("Looked it up in the documents"),
        "sources": _("Sources"),
        "page": _("p. {page}"),
        "found": _("Passages found: {count}"),
        "problem.denied": _(
            "The browser may not use the microphone. Allow it in the address bar and call again; "
            "until then you can type."
        ),
        "problem.missing": _("No microphone was found. You can type instead."),
        "problem.busy": _("Another program is using the microphone. You can type instead."),
        "problem.insecure": _(
            "Browsers allow sound only over HTTPS or on localhost. This call is in writing."
        ),
        "problem.microphone_lost": _("The microphone was unplugged. You can type instead."),
        "problem.protocol": _("The server did not understand this page."),
        "problem.audio": _("The server could not use the sound of this microphone."),
        "problem.asr": _("What you said could not be recognised."),
        "problem.llm": _("The assistant could not answer."),
        "problem.tts": _("The answer could not be spoken."),
        "problem.tool": _("A tool failed."),
        "closed.lost": _("The connection to the server was lost."),
        "closed.unreachable": _("The server could not be reached."),
        "closed.1000": _("The call has ended."),
        "closed.1001": _("The server is restarting."),
        "closed.1009": _("The server refused a message that was too large."),
        "closed.1011": _("The server had an error of its own."),
        "closed.4400": _("The server did not understand this page. Reload it."),
        "closed.4401": _("The sign-in has expired or the API key is wrong."),
        "closed.4403": _("You may not talk to this assistant from here."),
        "closed.4404": _("This assistant does not exist, or you may not talk to it."),
        "closed.4408": _("The call ended because nothing happened for a while."),
        "closed.4409": _("The call goes on in another window."),
        "closed.4429": _("Too many calls at once. End another call or wait a little."),
        "closed.4503": _("The server is busy. Try again in a moment."),
        "closed.sound": _("The browser could not start its sound. Reload the page."),
    }
