-- Store a hash entry, replacing all its fields.
-- ARGV[3]: MessagePack array of field, value, field, value, so that no limit on arguments is met.
local fields = cmsgpack.unpack(ARGV[3])
redis.call('SET', fence, incoming, 'EX', fence_ttl)
redis.call('UNLINK', entry)
-- In slices: unpack() is bound by Lua's stack.
for first = 1, #fields, 1000 do
  redis.call('HSET', entry, unpack(fields, first, math.min(first + 999, #fields)))
end
return 'applied'
