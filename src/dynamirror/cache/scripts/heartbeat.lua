-- Record that a replicator is alive, with the time of the cache's clock, so that clocks need not agree.
-- KEYS: the heartbeats (a hash: replicator, JSON).  ARGV: the replicator, its JSON object with one field at least, the
-- time by the replicator's clock, for a user who may not read the cache's, and seconds after which others are forgotten,
-- or 0.
local heartbeats, name, fields, forget = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4])
local clock = redis.pcall('TIME')
local now = ARGV[3]
if not clock.err then now = clock[1] .. string.format('.%03d', math.floor(tonumber(clock[2]) / 1000)) end

if forget > 0 then
  local held = redis.call('HGETALL', heartbeats)
  for index = 1, #held, 2 do
    local at = tonumber(string.match(held[index + 1], '^{"at":([%d.]+)') or '')
    if not at or at < tonumber(now) - forget then redis.call('HDEL', heartbeats, held[index]) end
  end
end
redis.call('HSET', heartbeats, name, '{"at":' .. now .. ',' .. string.sub(fields, 2))
return now
