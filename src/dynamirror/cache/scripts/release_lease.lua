-- Release the lease of a mirror if we hold it: the next process takes it at once.  Returns 1 if it was ours.
-- KEYS: the lease.  ARGV: the beginning of the JSON with our token, the JSON of a released lease, milliseconds.
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
