-- Let an item out of quarantine, or note something else about it, unless it was parked again.
-- KEYS: the quarantine.  ARGV: the item, its note as it was read, the note to keep ('' for none).
local quarantine, item, seen, note = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', quarantine, item) ~= seen then return 'changed' end
if note == '' then
  redis.call('HDEL', quarantine, item)
else
  redis.call('HSET', quarantine, item, note)
end
return 'released'
