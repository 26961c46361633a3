"""A run's media under /api/v1/runs/ID/media: what there is, and the bytes of it.

Bytes go out as what they are seen to be, never as what an event file calls them: a few formats of
images and audio as such, text as plain text, all else as a download; under a policy in which a
browser runs nothing. An address that names the checksum is good for ever and cached so.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from guildlite.http import RequestError
from guildlite.runs import Run, RunReader
from guildlite.series import MAX_STEP, MIN_STEP
from guildlite.tfevents import BadContent, ContentLost
from guildlite.tfevents.contents import Audio, Graph, Images, Text
from guildlite.tfevents.writer import EventWriter
from guildlite.web.api import JSON
from guildlite.web.cards import filter_keys
from guildlite.web.files import FILE_CSP, parse_range
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.page import MOST_ITEM_BYTES, bytes_url, content_facts
from guildlite.web.media.types import BINARY, sniff
from guildlite.web.seriesapi import run_version
from guildlite.web.workspace import Workspace, is_live

if TYPE_CHECKING:
    from guildlite.runs.media import MediaItem

#: Values in one answer of `media/items`.
MOST_ITEMS = 1000

Words = Annotated[str, Query(max_length=4000)]
Number = Annotated[int, Query(ge=0, le=2**53)]
Step = Annotated[int, Query(ge=MIN_STEP, le=MAX_STEP)]


def make_media_router(workspace: Workspace, contents: ContentCache) -> APIRouter:
    """Return the routes below /runs/ID/media."""
    api = APIRouter(prefix="/api/v1/runs/{run_id}/media", default_response_class=JSON)

    @api.get("", summary="Series that are no scalars")
    def series(request: Request, run_id: str, kind: Words = "", tags: Words = "") -> Response:
        run = workspace.get(run_id)
        workspace.settle([run])
        live = is_live(run)
        version = run_version([run], f"media {live} {request.url.query}")
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304, headers={"etag": version})
        with run.read() as reader:
            found, problem = filter_keys(reader.media(kind or None), tags.strip())
        if problem:
            raise RequestError(f"`tags` is no regular expression: {problem}", field="tags")
        answer = JSON({"series": found, "live": live})
        answer.headers.update({"etag": version, "cache-control": "no-cache"})
        return answer

    @api.get("/items", summary="Values of one series by step, their bytes unread")
    def items(
        run_id: str,
        key: Words,
        after: Annotated[int, Query(ge=-1, le=2**53)] = -1,
        limit: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = 100,
        first_step: Step = MIN_STEP,
        last_step: Step = MAX_STEP,
    ) -> Response:
        with workspace.get(run_id).read() as reader:
            found = reader.items(
                key, after=after, limit=limit, first_step=first_step, last_step=last_step
            )
            if not found and reader.media_series(key) is None:
                raise RequestError("there is no such series", status=404)
        listed = [
            {
                "seq": item.seq,
                "step": item.step,
                "time": item.time,
                "segment": item.segment,
                "record_bytes": item.reference.length,
                "content": bytes_url(run_id, item, what="content"),
            }
            for item in found
        ]
        return JSON({"items": listed, "next": found[-1].seq if len(found) == limit else None})

    @api.get("/content", summary="One value, decoded; its images and clips by address")
    def content(run_id: str, key: Words, seq: Number, nth: int = 0, sum: int = 0) -> Response:
        run = workspace.get(run_id)
        with run.read() as reader:
            item = _item(reader, key, seq)
            return JSON(
                {"item": item, **_told(run_id, item, _content(run, reader, item, contents))}
            )

    @api.get("/bytes", summary="The bytes of one image, clip, text or graph, inert")
    def bytes_(
        request: Request,
        run_id: str,
        key: Words,
        seq: Number,
        nth: Number = 0,
        sum: Annotated[int | None, Query(description="the record's checksum")] = None,
    ) -> Response:
        run = workspace.get(run_id)
        with run.read() as reader:
            item = _item(reader, key, seq)
            headers = _lasting(item, sum, nth)
            if request.headers.get("if-none-match") == headers["etag"]:
                return Response(status_code=304, headers=headers)
            found = _content(run, reader, item, contents)
        return _inert(*_part(found, nth, key), headers, request.headers)

    @api.get("/record", summary="The record a value lies in, as an event file of its own")
    def record(run_id: str, key: Words, seq: Number, sum: int | None = None) -> Response:
        with workspace.get(run_id).read() as reader:
            item = _item(reader, key, seq)
            try:
                payload = reader.record(item)
            except ContentLost as error:
                raise RequestError(error.message, status=404) from error
        file = io.BytesIO()
        EventWriter(file, (item.time or 0) / 1000).write_event(payload)
        name = f"events.out.tfevents.{(item.time or 0) // 1000}.{_file_name(key)}"
        headers = {**_lasting(item, sum, 0), **_attachment(name)}
        return Response(file.getvalue(), media_type=BINARY, headers=headers)

    return api


def _item(reader: RunReader, key: str, seq: int) -> MediaItem:
    item = reader.item(key, seq)
    if item is None:
        raise RequestError("there is no such value", status=404)
    if item.reference.length > MOST_ITEM_BYTES:
        raise RequestError("the value is too large", status=413)
    return item


def _content(run: Run, reader: RunReader, item: MediaItem, contents: ContentCache) -> Any:
    try:
        return contents.read(run, reader, item)
    except ContentLost as error:
        raise RequestError(error.message, status=404, hint="its file changed or is gone") from error
    except BadContent as error:
        raise RequestError(error.message, status=422) from error


def _told(run_id: str, item: MediaItem, content: Any) -> dict[str, object]:
    """Return a value as JSON can tell it."""
    if isinstance(content, (Images, Audio)):
        parts = content.images if isinstance(content, Images) else content.clips
        labels = content.labels if isinstance(content, Audio) else []
        return {
            "samples": [
                {
                    "type": (seen := sniff(data)).media_type,
                    "bytes": len(data),
                    "width": seen.width,
                    "height": seen.height,
                    "label": labels[nth] if nth < len(labels) else "",
                    "url": bytes_url(run_id, item, nth),
                }
                for nth, data in enumerate(parts)
            ]
        }
    if isinstance(content, Graph) or not hasattr(content, "__dataclass_fields__"):
        return {"facts": dict(content_facts(content)), "url": bytes_url(run_id, item)}
    if facts := content_facts(content):
        return {"facts": dict(facts)}
    return {name: getattr(content, name) for name in content.__dataclass_fields__}


def _part(content: Any, nth: int, key: str) -> tuple[bytes, str, str]:
    """Return bytes, their content type and a file name without ending."""
    name = _file_name(key)
    if isinstance(content, Text):
        parts = content.texts if len(content.texts) != 1 else [content.texts[0]]
        return "\n\n".join(parts).encode("utf-8", "replace"), "text/plain; charset=utf-8", name
    if isinstance(content, Graph):
        return content.data, BINARY, f"{name}.pb"
    parts_ = getattr(content, "images", None) or getattr(content, "clips", None) or []
    if nth >= len(parts_):
        raise RequestError("there is no such sample", status=404)
    found = sniff(parts_[nth])
    return parts_[nth], BINARY if found.problem else found.media_type, f"{name}-{nth}"


def _inert(
    data: bytes, media_type: str, name: str, headers: dict[str, str], asked: Mapping[str, str]
) -> Response:
    """Return bytes under a policy that lets them do nothing; a range of them where asked."""
    headers["accept-ranges"] = "bytes"
    if media_type == BINARY:
        headers.update(_attachment(name))
    span = parse_range(asked.get("range", ""), len(data)) if "if-range" not in asked else None
    if span is None:
        return Response(data, media_type=media_type, headers=headers)
    first, last = span
    if first > last:
        outside = {"content-range": f"bytes */{len(data)}"}
        raise RequestError("the range is outside of the value", status=416, headers=outside)
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers=headers, media_type=media_type)


def _lasting(item: MediaItem, checksum: int | None, nth: int) -> dict[str, str]:
    """Return headers under which a value is kept: for ever where its checksum was named."""
    same = checksum == item.reference.checksum
    return {
        "etag": f'"{item.reference.checksum:08x}-{item.reference.nth}-{nth}"',
        "cache-control": "private, max-age=31536000, immutable" if same else "no-cache",
        "content-security-policy": FILE_CSP,
        "x-content-type-options": "nosniff",
    }


def _attachment(name: str) -> dict[str, str]:
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return {"content-disposition": f"attachment; filename*=UTF-8''{encoded}"}


def _file_name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in key)[:80].strip(".") or "value"
