"""What applications read with: DynamoDB's calls, answered by the cache where it can."""

from dynamirror.extras import extra_needed

with extra_needed("dynamirror.Reader", "reader"):
    from dynamirror.reader.asynchronous import AsyncReader
    from dynamirror.reader.guarded_cache import ReadCounts
    from dynamirror.reader.synchronous import Reader, written_at

__all__ = ["AsyncReader", "ReadCounts", "Reader", "written_at"]
