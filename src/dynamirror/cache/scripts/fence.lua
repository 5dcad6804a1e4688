-- Begins every verb: leave unless what comes in supersedes what the fence remembers.
-- KEYS: the entry, its fence.  ARGV: the incoming version, seconds the fence is kept, ...
--
-- A version is text of fixed width (version.py), so that text order is number order:
--   change  'c' epoch(13) sequence(40) created(10)
--   row     'r' horizon(10)
-- Compare as text: tonumber() would round a sequence number to 53 bits.
local entry, fence = KEYS[1], KEYS[2]
local incoming, fence_ttl = ARGV[1], ARGV[2]

local function is_row(version) return string.byte(version) == 114 end -- 'r'
local function place(change) return string.sub(change, 2, 54) end
local function created(change) return string.sub(change, 55) end
local function horizon(row) return string.sub(row, 2) end

local held = redis.call('GET', fence)

local function supersedes()
  if not held then return true end
  if is_row(incoming) then
    if is_row(held) then return horizon(incoming) > horizon(held) end
    -- A change as new as the row: the stream is trusted to deliver what is newer still.
    return created(held) < horizon(incoming)
  end
  if is_row(held) then
    -- An older change was already in the row when it was read.
    return created(incoming) >= horizon(held)
  end
  return place(incoming) > place(held)
end

if not supersedes() then return 'stale' end
