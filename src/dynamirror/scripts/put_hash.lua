-- Store a hash entry, replacing all its fields.
-- ARGV[3]: the number of parts that follow, then field, value, field, value, each behind its length
-- (32 bits, big-endian). As one argument, since a request may have no more than 3,999.
local packed = ARGV[3]
local left, at = struct.unpack('>I4', packed)
redis.call('SET', fence, incoming, 'EX', fence_ttl)
redis.call('UNLINK', entry)
while left > 0 do
  -- In slices: what unpack() gives is bound by Lua's stack.
  local count = math.min(left, 1000)
  local parts = { struct.unpack('>' .. string.rep('I4c0', count), packed, at) }
  at = table.remove(parts) -- the last it gives is where it stopped
  redis.call('HSET', entry, unpack(parts))
  left = left - count
end
return 'applied'
