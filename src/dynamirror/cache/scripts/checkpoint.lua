-- Save or remove the checkpoint of a shard, if we hold the lease of the mirror.  Returns 1 if it was done.
-- KEYS: the checkpoints (a hash: shard, JSON), the lease.  ARGV: the beginning of the lease's JSON with our token, the
-- shard, and the checkpoint, or nothing to remove it.
local held = redis.call('GET', KEYS[2])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
return 1
