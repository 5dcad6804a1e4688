-- Return the time of the cache's clock ('' for a user who may not read it), and the heartbeats.
-- KEYS: the heartbeats (a hash: replicator, JSON).
local clock = redis.pcall('TIME')
local now = ''
if not clock.err then now = clock[1] .. string.format('.%03d', math.floor(tonumber(clock[2]) / 1000)) end
return { now, redis.call('HGETALL', KEYS[1]) }
