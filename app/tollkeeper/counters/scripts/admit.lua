-- May this request run? Rate window first, then the spend cap; places the hold if both say yes.
-- KEYS: state, holds, until, rate
-- ARGV: id, bound, cap ('' for none), soft ('1': the bound is a guess), version, spent, now_ms, until_ms,
--       rate_limit (0 for none), window_ms, keep_s, tokens (its bound), tokens used by that version,
--       free_until (tokens used and held up to which the request costs nothing, -1 where it always does)
-- Returns {'ok', spent, held, left in the window} | {'seed'} | {'rate', wait_ms} | {'cap', spent, held}
local state, holds, ends, rate = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, bound, cap, soft = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local version, spent, now, ends_at = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), ARGV[8]
local limit, window, keep = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local tokens, used_tokens, free_until = ARGV[12], ARGV[13], tonumber(ARGV[14])

-- Redis takes no "-0" for a number.
local function decrease(field, by)
  if by ~= '0' then redis.call('HINCRBY', state, field, '-' .. by) end
end

local function give_back(hold)
  local value = redis.call('HGET', holds, hold)
  if value then
    local amount, count = string.match(value, '^%??(%d+):(%d+)$')
    redis.call('HDEL', holds, hold)
    redis.call('ZREM', ends, hold)
    decrease('held', amount)
    decrease('held_tokens', count)
  end
end

-- The window is cut into 60 slots; a slot counts until the whole of it has left the window.
local slot_ms, slot, used, oldest = window / 60, 0, 0, nil
if limit > 0 then
  slot = math.floor(now / slot_ms)
  local counts = redis.call('HGETALL', rate)
  for i = 1, #counts, 2 do
    local at = tonumber(counts[i])
    if at <= slot - 60 or at > slot + 60 then
      redis.call('HDEL', rate, counts[i])
    else
      used = used + tonumber(counts[i + 1])
      if not oldest or at < oldest then oldest = at end
    end
  end
  if used >= limit then
    if redis.call('HGET', state, 'ready') then give_back(id) end
    return {'rate', math.ceil((oldest + 60) * slot_ms - now)}
  end
end

local held = '0'
if cap ~= '' then
  local known = redis.call('HMGET', state, 'ready', 'version', 'spent', 'tokens', 'held', 'held_tokens')
  if not known[1] then return {'seed'} end
  -- A Redis that is short of memory may have evicted one key and left the others: such a copy is no copy.
  local count = redis.call('HLEN', holds)
  if count ~= redis.call('ZCARD', ends) or (count == 0 and (known[5] ~= '0' or known[6] ~= '0')) then
    redis.call('HDEL', state, 'ready')
    return {'seed'}
  end
  if tonumber(known[2]) < version then
    redis.call('HSET', state, 'version', ARGV[5], 'spent', spent, 'tokens', used_tokens)
  else
    spent, used_tokens = known[3], known[4]
  end
  for _, over in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do give_back(over) end
  local mine = redis.call('HGET', holds, id)
  if mine and string.sub(mine, 1, 1) == '?' then
    give_back(id)
    mine = nil
  end
  local sums = redis.call('HMGET', state, 'held', 'held_tokens')
  held = sums[1]
  if mine then return {'ok', spent, held, limit - used} end
  local room = tonumber(cap) - tonumber(spent) - tonumber(held)
  local hold = ARGV[2]
  if tonumber(used_tokens) + tonumber(sums[2]) + tonumber(tokens) <= free_until then
    hold = '0'
  elseif bound > 0 and bound > room then
    if not (soft and room > 0) then return {'cap', spent, held} end
    hold = string.format('%.0f', room)
  end
  redis.call('HSET', holds, id, hold .. ':' .. tokens)
  redis.call('ZADD', ends, ends_at, id)
  held = tostring(redis.call('HINCRBY', state, 'held', hold))
  redis.call('HINCRBY', state, 'held_tokens', tokens)
  for _, key in ipairs({state, holds, ends}) do redis.call('EXPIRE', key, keep) end
end
if limit > 0 then
  redis.call('HINCRBY', rate, string.format('%.0f', slot), 1)
  redis.call('PEXPIRE', rate, math.ceil(window * 2))
  used = used + 1
end
return {'ok', spent, held, limit - used}
