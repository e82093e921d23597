-- A hold has come to its end, and the customer's spend is known anew.
-- KEYS: state, holds, until
-- ARGV: id, version ('' where only the hold is given back), spent, tokens used, keep_s
local state, holds, ends = KEYS[1], KEYS[2], KEYS[3]
-- Redis takes no "-0" for a number.
local function decrease(field, by)
  if by ~= '0' then redis.call('HINCRBY', state, field, '-' .. by) end
end

local value = redis.call('HGET', holds, ARGV[1])
if value then
  local amount, count = string.match(value, '^%??(%d+):(%d+)$')
  redis.call('HDEL', holds, ARGV[1])
  redis.call('ZREM', ends, ARGV[1])
  decrease('held', amount)
  decrease('held_tokens', count)
end
if ARGV[2] == '' then return 1 end
local known = redis.call('HGET', state, 'version')
if not known or tonumber(known) < tonumber(ARGV[2]) then
  -- Also where nothing is known: a copy being seeded from older rows is then seen to be older, and read again.
  redis.call('HSET', state, 'version', ARGV[2], 'spent', ARGV[3], 'tokens', ARGV[4])
  redis.call('EXPIRE', state, ARGV[5])
end
return 1
