-- Delete an entry; its fence stays behind as the tombstone.
-- An entry with a member: KEYS[3]: its sorted set; ARGV[3]: the member.
-- The entry goes first: that needs no memory, so a full cache can still be emptied.
redis.call('UNLINK', entry)
if KEYS[3] then
  local said = redis.pcall('ZREM', KEYS[3], ARGV[3])
  -- What is no sorted set has nothing to remove.
  if type(said) == 'table' and string.sub(said.err or '', 1, 9) ~= 'WRONGTYPE' then return said end
end
redis.call('SET', fence, incoming, 'EX', fence_ttl)
return 'applied'
