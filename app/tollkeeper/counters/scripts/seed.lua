-- Fill an empty copy from what PostgreSQL says.
-- KEYS: state, holds, until
-- ARGV: version, spent, tokens used, keep_s, then for each hold: id, amount, tokens, until_ms
-- Returns 1, or 0 where the copy already knows something newer and the rows must be read again.
local state, holds, ends = KEYS[1], KEYS[2], KEYS[3]
local known = redis.call('HMGET', state, 'ready', 'version')
if known[1] then return 1 end
if known[2] and tonumber(known[2]) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', holds, ends)
redis.call('HSET', state, 'version', ARGV[1], 'spent', ARGV[2], 'tokens', ARGV[3], 'held', '0', 'held_tokens', '0',
  'ready', '1')
for i = 5, #ARGV, 4 do
  if redis.call('HSETNX', holds, ARGV[i], '?' .. ARGV[i + 1] .. ':' .. ARGV[i + 2]) == 1 then
    redis.call('ZADD', ends, ARGV[i + 3], ARGV[i])
    redis.call('HINCRBY', state, 'held', ARGV[i + 1])
    redis.call('HINCRBY', state, 'held_tokens', ARGV[i + 2])
  end
end
for _, key in ipairs({state, holds, ends}) do redis.call('EXPIRE', key, ARGV[4]) end
return 1
