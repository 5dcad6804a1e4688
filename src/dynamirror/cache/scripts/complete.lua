-- Record that all snapshot rows as of a time are applied, unless a gap is newer than these rows.
-- KEYS: the completeness marker.  ARGV: the as-of time (seconds since 1970), the views' fingerprint, the same and
-- their names.
local marker = KEYS[1]
local gap, complete = redis.call('HGET', marker, 'gap'), redis.call('HGET', marker, 'complete')
if not gap then return 'no marker' end
if redis.call('HGET', marker, 'views') ~= ARGV[2] then return 'other views' end
if tonumber(gap) >= tonumber(ARGV[1]) then return 'newer gap' end
if not complete or (tonumber(complete) or -1) < tonumber(ARGV[1]) then
  redis.call('HSET', marker, 'complete', ARGV[1])
end
redis.call('HSET', marker, 'named', ARGV[3])
return 'complete'
