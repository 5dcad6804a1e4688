-- Record that the mirror may lack changes made before a moment; the latest moment counts.
-- KEYS: the completeness marker.  ARGV: the moment (seconds since 1970), reason, ARN of the stream that is followed,
-- views' fingerprint, ARN of the stream that the table has ('' if that is not known), views' fingerprint and names.
local marker, at = KEYS[1], tonumber(ARGV[1])
local held = redis.call('HGET', marker, 'gap')

-- A stream's label is the moment it was made, as text of fixed width.
local function label(arn) return string.match(arn or '', '/stream/(.*)') or '' end
local function keep_newest(field, arn)
  if label(arn) >= label(redis.call('HGET', marker, field) or '') then
    redis.call('HSET', marker, field, arn)
  end
end

if not held then redis.call('HSET', marker, 'born', ARGV[1]) end
if at > (tonumber(held or '') or -1) then
  redis.call('HSET', marker, 'gap', ARGV[1], 'reason', ARGV[2])
end
redis.call('HSET', marker, 'views', ARGV[4], 'named', ARGV[6])
keep_newest('stream', ARGV[3])
if ARGV[5] ~= '' then keep_newest('source', ARGV[5]) end
return 'noted'
