"""GET /info: what this object store can do, and its limits."""

from __future__ import annotations

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.swift import bulk, large_objects, listings, metadata, tempurl
from cloudseed.swift.api.router import set_transaction
from cloudseed.swift.store import MAX_CONTAINER_NAME, MAX_FILE_SIZE, MAX_OBJECT_NAME

CAPABILITIES = {
    "swift": {
        "version": "2.38.0", "strict_cors_mode": True, "account_autocreate": True, "allow_account_management": True,
        "account_listing_limit": listings.MAX_LIMIT, "container_listing_limit": listings.MAX_LIMIT,
        "max_account_name_length": 256, "max_container_name_length": MAX_CONTAINER_NAME,
        "max_object_name_length": MAX_OBJECT_NAME, "max_file_size": MAX_FILE_SIZE, "max_header_size": 8192,
        "max_meta_count": metadata.MAX_COUNT, "max_meta_name_length": metadata.MAX_NAME,
        "max_meta_overall_size": metadata.MAX_OVERALL, "max_meta_value_length": metadata.MAX_VALUE,
        "extra_header_count": 0, "valid_api_versions": ["v1"],
        "policies": [{"name": "Policy-0", "aliases": "Policy-0", "default": True}]},
    "slo": {"max_manifest_segments": large_objects.MAX_SEGMENTS, "max_manifest_size": large_objects.MAX_MANIFEST,
            "min_segment_size": 1, "yield_frequency": 10, "allow_async_delete": False},
    "dlo": {"max_segments": 10_000},
    "bulk_delete": {"max_deletes_per_request": bulk.MAX_DELETES, "max_failed_deletes": bulk.MAX_DELETES},
    "tempurl": {"methods": list(tempurl.METHODS), "allowed_digests": ["sha1", "sha256", "sha512"],
                "incoming_allow_headers": [], "incoming_remove_headers": ["x-timestamp"],
                "outgoing_allow_headers": ["x-object-meta-public-*"], "outgoing_remove_headers": ["x-object-meta-*"]},
    "versioned_writes": {"allowed_flags": ["x-versions-location", "x-history-location"]},
    "bulk_upload": {"max_containers_per_extraction": 10_000, "max_failed_extractions": 10_000},
    "container_quotas": {}, "account_quotas": {},
}


class InfoResource:
    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        set_transaction(req, resp)
        resp.media = CAPABILITIES


class HealthResource:
    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        set_transaction(req, resp)
        resp.content_type = "text/plain"
        resp.text = "OK"
