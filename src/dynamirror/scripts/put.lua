-- Store a string entry.  ARGV[3]: its value; ARGV[4]: when it expires, '' for never.
-- A collection's entry: KEYS[3]: the index; ARGV[5]: what stands for the entry there.
-- The fence goes first: without memory the first write is refused, and so the whole script.
redis.call('SET', fence, incoming, 'EX', fence_ttl)
if ARGV[4] and ARGV[4] ~= '' then
  redis.call('SET', entry, ARGV[3], 'EXAT', ARGV[4])
else
  redis.call('SET', entry, ARGV[3])
end
-- What is there and no index was nobody's to put there: rather make a new one than fail for ever.
if KEYS[3] and type(redis.pcall('ZADD', KEYS[3], 0, ARGV[5])) == 'table' then
  redis.call('UNLINK', KEYS[3])
  redis.call('ZADD', KEYS[3], 0, ARGV[5])
end
return 'applied'
