-- Delete an entry; its fence stays behind as the tombstone.
-- A collection's entry: KEYS[3]: the index; ARGV[3]: what stands for the entry there.
-- The entry goes first: that needs no memory, so a full cache can still be emptied.
redis.call('UNLINK', entry)
-- What is there and no index has nothing to remove.
if KEYS[3] then redis.pcall('ZREM', KEYS[3], ARGV[3]) end
redis.call('SET', fence, incoming, 'EX', fence_ttl)
return 'applied'
