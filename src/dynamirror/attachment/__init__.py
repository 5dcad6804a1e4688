"""What existing applications read with: their own clients, answered by the cache."""

from dynamirror.extras import extra_needed

with extra_needed("dynamirror.attach", "reader"):
    from dynamirror.attachment.attachment import Attachment, attach, detach
    from dynamirror.attachment.counts import OperationCounts

__all__ = ["Attachment", "OperationCounts", "attach", "detach"]
