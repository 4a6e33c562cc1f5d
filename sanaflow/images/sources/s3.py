"""An S3 bucket, or any store that speaks S3. Keys come from the environment or ~/.aws."""

from pathlib import Path, PurePosixPath
from typing import Any

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.sources.listing import Entry, FetchError, Source


def open_s3(dataset: DatasetSettings) -> Source:
    """List what lies below `aws_data_prefix`.

    Raises:
        InputError: s3fs isn't installed, or the bucket can't be listed.
    """
    try:
        import s3fs
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise InputError(f"dataset '{dataset.id}': 'type: aws' needs s3fs: pip install 'sanaflow[s3]'") from None
    errors = (OSError, BotoCoreError, ClientError, TimeoutError, ValueError)
    store = s3fs.S3FileSystem(
        endpoint_url=dataset.aws_endpoint_url,
        client_kwargs={"region_name": dataset.aws_region_name} if dataset.aws_region_name else {},
        config_kwargs={"retries": {"max_attempts": 5, "mode": "standard"}, "connect_timeout": 10, "read_timeout": 60},
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    prefix = dataset.aws_data_prefix.strip("/")
    root = f"{(dataset.aws_bucket_name or '').removeprefix('s3://').strip('/')}/{prefix}".rstrip("/")
    try:
        found = store.find(root, detail=True)
        plain_etags = _are_etags_checksums(store, found)
    except errors as error:
        raise InputError(
            f"{dataset.key}: can't be listed ({_why(error)}): check 'aws_endpoint_url', and AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment"
        ) from None
    entries, keys = [], {}
    for key, item in sorted(found.items()):
        name = key.removeprefix(root).lstrip("/")
        if item["type"] != "file" or not name or any(part.startswith(".") for part in PurePosixPath(name).parts):
            continue
        etag = str(item["ETag"]).strip('"')
        plain = (
            plain_etags and len(etag) == 32 and "-" not in etag
        )  # of a file uploaded in parts it isn't its content's
        keys[name] = key
        entries.append(Entry(name, f"{etag} {item['size']}", checksum=f"md5:{etag}" if plain else ""))

    def fetch(entry: Entry, target: Path) -> None:
        try:
            store.get_file(keys[entry.name], str(target))
            if target.stat().st_size != int(entry.token.split()[1]):
                raise FetchError("came with another length than the store says")
        except errors as error:
            raise FetchError(_why(error)) from None

    return Source(f"s3 {dataset.aws_endpoint_url or ''} {root}", entries, fetch)


def _are_etags_checksums(store: Any, found: dict[str, Any]) -> bool:
    """Whether a file's ETag is its MD5, which it isn't where the store encrypts with keys of its own."""
    first = next((key for key, item in found.items() if item["type"] == "file"), None)
    if first is None:
        return False
    bucket, key = first.split("/", 1)
    head = store.call_s3("head_object", Bucket=bucket, Key=key)
    return not (str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in head)


def _why(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
