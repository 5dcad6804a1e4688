-- Store a hash entry, replacing all its fields.
-- ARGV[3]: the number of parts that follow, then field, value, field, value, each behind its length
-- (32 bits, big-endian). As one argument, since a request may have no more than 3,999.
-- ARGV[4]: when it expires, '' for never.
-- An entry with a member: KEYS[3]: its sorted set; ARGV[5]: the member; ARGV[6]: its score.
local packed = ARGV[3]
local function in_slices(act) -- what unpack() gives is bound by Lua's stack
  local left, at = struct.unpack('>I4', packed)
  while left > 0 do
    local count = math.min(left, 1000)
    local parts = { struct.unpack('>' .. string.rep('I4c0', count), packed, at) }
    at = table.remove(parts) -- the last it gives is where it stopped
    act(parts)
    left = left - count
  end
end
-- The fence moves last: should a command be refused half-way, the entry is written again. But before
-- the entry is touched, see that there is memory: write what the fence holds, or what gives way to
-- all. Once a script has written, no lack of memory stops it.
redis.call('SET', fence, held or 'r0000000000', 'EX', fence_ttl)
-- The entry must not be missing for a moment: while its slot moves key by key, the node that it moves
-- from refuses to make a key. So new fields come before old ones go.
local fields = 0
in_slices(function(parts)
  fields = fields + #parts / 2
  local said = redis.pcall('HSET', entry, unpack(parts))
  if type(said) == 'number' then return end
  if string.sub(said.err, 1, 9) == 'WRONGTYPE' then
    -- No key can change its type. In a moving slot HSET is now refused, and the write comes again.
    redis.call('UNLINK', entry)
  end
  redis.call('HSET', entry, unpack(parts)) -- what was refused for another reason is refused again
end)
if redis.call('HLEN', entry) > fields then
  local kept, rest = {}, {}
  in_slices(function(parts)
    for index = 1, #parts, 2 do kept[parts[index]] = true end
  end)
  for _, field in ipairs(redis.call('HKEYS', entry)) do
    if not kept[field] then rest[#rest + 1] = field end
  end
  for index = 1, #rest, 1000 do
    redis.call('HDEL', entry, unpack(rest, index, math.min(index + 999, #rest)))
  end
end
-- Last of all, since a time that has passed deletes the entry at once.
if ARGV[4] and ARGV[4] ~= '' then
  redis.call('EXPIREAT', entry, ARGV[4])
else
  redis.call('PERSIST', entry)
end
if KEYS[3] then
  local said = redis.pcall('ZADD', KEYS[3], ARGV[6], ARGV[5])
  if type(said) == 'table' then
    if string.sub(said.err or '', 1, 9) ~= 'WRONGTYPE' then return said end
    -- Nobody should have put anything else there: rather replace it than fail for ever.
    redis.call('UNLINK', KEYS[3])
    redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5])
  end
end
redis.call('SET', fence, incoming, 'EX', fence_ttl)
return 'applied'
