-- Take the lease of a mirror, or renew it, unless another process holds it.  Returns the lease as it is stored.
-- KEYS: the lease (JSON that begins with the holder's token, which is empty once it is released).  ARGV: the beginning of
-- the JSON with our token, its other fields, milliseconds, and the time by our clock, for a user who may not read the
-- cache's.
local lease, ours, fields = KEYS[1], ARGV[1], ARGV[2]
local clock = redis.pcall('TIME')
local now = ARGV[4]
if not clock.err then now = clock[1] .. string.format('.%03d', math.floor(tonumber(clock[2]) / 1000)) end

local since = now
local held = redis.call('GET', lease)
if held then
  if string.sub(held, 1, #ours) == ours then
    since = string.match(held, '"since":([%d.]+)') or now
  elseif string.match(held, '^{"token":"[^"]') then
    return held  -- else it is released, or damaged
  end
end
local text = ours .. ',"since":' .. since .. ',"at":' .. now .. ',' .. fields
redis.call('SET', lease, text, 'PX', ARGV[3])
return text
