"""Which URLs lead to objects of S3 and Google Cloud Storage."""

from __future__ import annotations

import pytest

from torchkeeper.archive.buckets import CloudObject, folder_of, split_cloud
from torchkeeper.config.types import is_cloud


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("s3://bucket/key.mar", ("s3", "bucket", "key.mar")),
        ("gs://bucket/deep/er/key.mar", ("gs", "bucket", "deep/er/key.mar")),
        ("s3://bucket", None),
        ("gs:///key", None),
        ("s3://[/m.mar", None),
        ("https://bucket.s3.amazonaws.com/key.mar", ("s3", "bucket", "key.mar")),
        (
            "https://my.bucket.s3.eu-west-1.amazonaws.com/a%20b.mar",
            ("s3", "my.bucket", "a b.mar", "eu-west-1"),
        ),
        ("https://bucket.s3-us-west-2.amazonaws.com/key", ("s3", "bucket", "key", "us-west-2")),
        ("https://bucket.s3-accelerate.amazonaws.com/key", ("s3", "bucket", "key")),
        ("https://bucket.s3.cn-north-1.amazonaws.com.cn/key", ("s3", "bucket", "key", "cn-north-1")),
        ("https://s3.us-gov-east-1.amazonaws.com/bucket/key", ("s3", "bucket", "key", "us-gov-east-1")),
        ("https://s3.amazonaws.com/bucket", None),
        ("https://s3.amazonaws.com.evil.example/bucket/key", None),
        ("https://notamazonaws.com/bucket/key", None),
        ("http://bucket.s3.amazonaws.com/key", None),
        ("https://storage.googleapis.com/bucket/key", None),
    ],
)
def test_which_urls_lead_to_objects(url: str, found: tuple[str, ...] | None) -> None:
    assert split_cloud(url) == (CloudObject(*found) if found else None)


def test_folders() -> None:
    assert folder_of("gs://bucket/a/b/") == CloudObject("gs", "bucket", "a/b")
    assert folder_of("s3://bucket") == CloudObject("s3", "bucket", "")
    with pytest.raises(ValueError, match="gs:///a names no bucket"):
        folder_of("gs:///a")
    assert is_cloud("gs://bucket")
    assert not is_cloud("https://bucket.s3.amazonaws.com/key")
