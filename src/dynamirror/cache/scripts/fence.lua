-- Every writing script begins with this: return unless the incoming version supersedes the fence's.
-- KEYS: the entry, its fence.  ARGV: the incoming version, the fence's time to live in seconds, ...
--
-- A version is text of fixed width (version.py), so that text order is number order:
--   change  'c' epoch(13) sequence(40) created(10)
--   row     'r' as-of time(10)
-- Compare as text: tonumber() would round a sequence number to 53 bits.
local entry, fence = KEYS[1], KEYS[2]
local incoming, fence_ttl = ARGV[1], ARGV[2]

local function is_row(version) return string.byte(version) == 114 end -- 'r'
local function place(change) return string.sub(change, 2, 54) end
local function created(change) return string.sub(change, 55) end
local function as_of(row) return string.sub(row, 2) end

local held = redis.call('GET', fence)

local function supersedes()
  if not held then return true end
  if is_row(incoming) then
    if is_row(held) then return as_of(incoming) > as_of(held) end
    -- The change may be newer than the row: the stream delivers any change since.
    return created(held) < as_of(incoming)
  end
  if is_row(held) then
    -- The row already contains an older change.
    return created(incoming) >= as_of(held)
  end
  return place(incoming) > place(held)
end

if not supersedes() then return 'stale' end
