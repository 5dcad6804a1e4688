-- Delete an entry; its fence stays behind as the tombstone.
-- The entry goes first: that needs no memory, so a full cache can still be emptied.
redis.call('UNLINK', entry)
redis.call('SET', fence, incoming, 'EX', fence_ttl)
return 'applied'
