-- Note that the mirror lacks changes that were made before a moment; the latest moment counts.
-- KEYS: the marker.  ARGV: the moment (seconds since 1970), reason, stream ARN, views' fingerprint.
local marker, at = KEYS[1], tonumber(ARGV[1])
local held = tonumber(redis.call('HGET', marker, 'gap') or '-1')
if at > held then
  redis.call('HSET', marker, 'gap', ARGV[1], 'reason', ARGV[2])
end
redis.call('HSET', marker, 'stream', ARGV[3], 'views', ARGV[4])
return 'noted'
