-- Note that all rows of a horizon are in, unless the mirror lacks changes that these rows may lack.
-- KEYS: the marker.  ARGV: the horizon (seconds since 1970), the fingerprint of the views written.
local marker = KEYS[1]
local gap, complete = redis.call('HGET', marker, 'gap'), redis.call('HGET', marker, 'complete')
if not gap then return 'no marker' end
if redis.call('HGET', marker, 'views') ~= ARGV[2] then return 'other views' end
if tonumber(gap) >= tonumber(ARGV[1]) then return 'newer gap' end
if not complete or (tonumber(complete) or -1) < tonumber(ARGV[1]) then
  redis.call('HSET', marker, 'complete', ARGV[1])
end
return 'complete'
