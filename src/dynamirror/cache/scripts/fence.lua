-- Every writing script begins with this: return unless the incoming version supersedes the fence's.
-- KEYS: the entry, its fence.  ARGV: the incoming version, the fence's time to live in seconds, ...
--
-- A version is text of fixed width (version.py), so that text order is number order:
--   change  'c' epoch(13) sequence(40) created(10)
--   row     'r' as-of time(10)
-- Compare as text: tonumber() would round a sequence number to 53 bits.
-- There is no function here: each call of the script would make it anew.
local entry, fence = KEYS[1], KEYS[2]
local incoming, fence_ttl = ARGV[1], ARGV[2]

local held = redis.call('GET', fence)
if held then
  local is_row, over_row = string.byte(incoming) == 114, string.byte(held) == 114 -- 'r'
  if is_row and over_row then
    if incoming <= held then return 'stale' end
  elseif is_row then
    -- The change may be newer than the row: the stream delivers any change since.
    if string.sub(held, 55) >= string.sub(incoming, 2) then return 'stale' end
  elseif over_row then
    -- The row already contains an older change.
    if string.sub(incoming, 55) < string.sub(held, 2) then return 'stale' end
  elseif string.sub(incoming, 2, 54) <= string.sub(held, 2, 54) then
    return 'stale'
  end
end
