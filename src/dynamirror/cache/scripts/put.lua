-- Store a string entry.  ARGV[3]: its value; ARGV[4]: when it expires, '' for never.
-- An entry with a member: KEYS[3]: its sorted set; ARGV[5]: the member; ARGV[6]: its score.
-- The fence goes first: without memory the first write is refused, and so the whole script. That of
-- an entry with a member moves last: refused half-way, both come again.
redis.call('SET', fence, KEYS[3] and (held or 'r0000000000') or incoming, 'EX', fence_ttl)
if ARGV[4] and ARGV[4] ~= '' then
  redis.call('SET', entry, ARGV[3], 'EXAT', ARGV[4])
else
  redis.call('SET', entry, ARGV[3])
end
if KEYS[3] then
  local said = redis.pcall('ZADD', KEYS[3], ARGV[6], ARGV[5])
  if type(said) == 'table' then
    if string.sub(said.err or '', 1, 9) ~= 'WRONGTYPE' then return said end
    -- Nobody should have put anything else there: rather replace it than fail for ever.
    redis.call('UNLINK', KEYS[3])
    redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5])
  end
  redis.call('SET', fence, incoming, 'EX', fence_ttl)
end
return 'applied'
