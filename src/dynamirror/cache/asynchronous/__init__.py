"""The cache for coroutines: the same reads as `dynamirror.cache.client`, without threads."""
