-- Store a string entry.  ARGV[3]: its value.
-- The fence goes first: without memory the first write is refused, and so the whole script.
redis.call('SET', fence, incoming, 'EX', fence_ttl)
redis.call('SET', entry, ARGV[3])
return 'applied'
