"""`/files` of the tasks family: the caller's own folder, which the agent of the tasks works in."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from accounts.permissions import principal_of
from conversations.files.folder import Entry, UserFolder
from conversations.files.paths import clean_name
from conversations.files.streaming import Streamed
from core.errors import InvalidRequest, NotFound
from core.families import Tasks
from core.serializers import WireSerializer

_DOWNLOAD_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}


def _folder_of(request: Request) -> UserFolder:
    return UserFolder.of(principal_of(request).user_id)


def _path_in(request: Request) -> str:
    """The path of the query, which must be there. Raises InvalidRequest."""
    path = request.query_params.get("path", "")
    if not path:
        raise InvalidRequest(_("The parameter “path” is missing."))
    return path


def _path_parameter(*, required: bool, text: str) -> OpenApiParameter:
    return OpenApiParameter("path", str, required=required, description=text)


class FolderUploadBody(WireSerializer):
    file = serializers.FileField(help_text="At most 50 MB.", allow_empty_file=True)
    filename = serializers.CharField(
        required=False, help_text="Another name for the file than the form's."
    )
    dir = serializers.CharField(required=False, help_text="The folder to put it in.")


class FolderUploadedShape(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    path = serializers.CharField(help_text="In the caller's folder.")
    filename = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    sha256 = serializers.CharField()


class FileUploadView(APIView):
    """Puts a file into the caller's folder; one of the same name is replaced."""

    required_scope = Scope.TASKS
    serializer_class = FolderUploadBody

    @extend_schema(request={"multipart/form-data": FolderUploadBody}, responses=FolderUploadedShape)
    def post(self, request: Request) -> Response:
        file = request.FILES.get("file")
        if file is None:
            raise InvalidRequest(_("No file was sent."))
        name = clean_name(_text(request, "filename") or file.name or "")
        folder = _folder_of(request)
        base = folder.checked(_text(request, "dir"))
        saved = folder.save(f"{base}/{name}" if base else name, file.chunks())
        stored = {"path": saved.path, "filename": saved.name}
        return Response(Tasks.success({**stored, "size": saved.size, "sha256": saved.sha256}))


def _text(request: Request, name: str) -> str:
    """A text field of the form, "" where it was not sent."""
    return request.POST.get(name, "").strip()


class FolderEntryShape(serializers.Serializer[Any]):
    """A file or a folder, as `folder.Entry`."""

    name = serializers.CharField()
    path = serializers.CharField(help_text="In the caller's folder.")
    is_dir = serializers.BooleanField()
    size = serializers.IntegerField(help_text="Bytes; of a folder 0.")
    modified_at = serializers.FloatField(help_text="Seconds since 1970.")


class FolderShape(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    items = FolderEntryShape(many=True)
    base = serializers.CharField()


class FolderRemovedShape(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    path = serializers.CharField()


class FilesView(APIView):
    """What is in a folder."""

    required_scope = Scope.TASKS

    @extend_schema(
        parameters=[_path_parameter(required=False, text="Empty: the whole folder.")],
        responses=FolderShape,
    )
    def get(self, request: Request) -> Response:
        folder, path = _folder_of(request), request.query_params.get("path", "")
        items = [dataclasses.asdict(entry) for entry in folder.list(path)]
        return Response(Tasks.success({"items": items, "base": folder.checked(path)}))

    @extend_schema(
        parameters=[_path_parameter(required=True, text="A file, or a folder with all in it.")],
        responses={200: FolderRemovedShape},
    )
    def delete(self, request: Request) -> Response:
        path = _folder_of(request).delete(_path_in(request))
        return Response(Tasks.success({"path": path}))


class FileDownloadView(APIView):
    """A file as it is, or a folder as a zip archive; always as something to be saved."""

    required_scope = Scope.TASKS

    @extend_schema(
        parameters=[_path_parameter(required=True, text="A file or a folder.")],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request) -> HttpResponseBase:
        folder, path = _folder_of(request), _path_in(request)
        entry = _entry(folder, path)
        if entry.is_dir:
            pieces = folder.zip_stream(path)
            return _sent(Streamed(pieces), f"{entry.name}.zip", "application/zip", request)
        opened = folder.open_read(path)
        body = Streamed(opened.pieces(), opened.file.close)
        response = _sent(body, entry.name, "application/octet-stream", request)
        response["Content-Length"] = str(opened.entry.size)
        return response


def _entry(folder: UserFolder, path: str) -> Entry:
    try:
        entry = folder.entry(path)
    except NotFound:
        raise NotFound(_("There is no such file."), code="FILE_NOT_FOUND") from None
    if not entry.name:
        raise InvalidRequest(_("The parameter “path” is missing."))
    return entry


def _sent(body: Streamed, name: str, media_type: str, request: Request) -> HttpResponseBase:
    headers = {
        **_DOWNLOAD_HEADERS,
        "Content-Type": media_type,
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
    }
    if request.method == "HEAD":
        body.close()
        return HttpResponse(headers=headers)
    return StreamingHttpResponse(body, headers=headers)
