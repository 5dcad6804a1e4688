-- Set an item aside; one that is aside already is counted once more.
-- KEYS: the quarantine (a hash: item, note), the counter of what it had no room for.
-- ARGV: the item, reason, sequence number, seconds since 1970 by which the change had been made,
-- now, how many items there is room for.
local quarantine, overflow = KEYS[1], KEYS[2]
local item, reason, sequence, made, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local room = tonumber(ARGV[6])

-- Nobody should have put anything else there: rather replace it than block the shard for ever.
local held = redis.pcall('HGET', quarantine, item)
if type(held) == 'table' then
  if string.sub(held.err, 1, 9) ~= 'WRONGTYPE' then return held end
  redis.call('UNLINK', quarantine)
  held = false
end
if not held and redis.call('HLEN', quarantine) >= room then
  local counted = redis.pcall('INCR', overflow)
  if type(counted) == 'table' then
    if not string.find(counted.err, 'WRONGTYPE') and not string.find(counted.err, 'not an integer') then return counted end
    redis.call('SET', overflow, 1)
  end
  return 'overflow'
end
local note = { first = now, count = 0, created = 0 }
if held then
  local readable, before = pcall(cjson.decode, held)
  if readable and type(before) == 'table' then
    note.first = tostring(before.first or now)
    note.count = tonumber(before.count) or 0
    note.created = tonumber(before.created) or 0
  end
end
note.reason, note.sequence_number, note.last = reason, sequence, now
note.count = note.count + 1
-- Of several changes, a row must be newer than the newest.
note.created = math.max(note.created, made)
redis.call('HSET', quarantine, item, cjson.encode(note))
return 'parked'
