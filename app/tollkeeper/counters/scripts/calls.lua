-- Many calls in one script, each of them atomic: what a process asks and reports between two of its round trips.
-- ARGV[1]: JSON, a list of {kind, state key, arguments…}. Amounts, counts and versions are strings, because Lua's numbers are
-- exact to 2^53 only; they are compared as numbers, and stored and added up as they are.
-- The keys of a call: its state, `…:holds` and `…:until` beside it, and for `admit` the rate window that it names.
-- Returns one answer for each call; {'error', text} for one that Redis refused, and the others go on.
local keep = 40 * 86400 -- seconds that an untouched copy stays: past the longest month, so that it is seldom seeded again

-- Redis takes no "-0" for a number.
local function decrease(state, field, by)
  if by ~= '0' then redis.call('HINCRBY', state, field, '-' .. by) end
end

local function give_back(state, id)
  local holds = state .. ':holds'
  local value = redis.call('HGET', holds, id)
  if value then
    local amount, count = string.match(value, '^%??(%d+):(%d+)$')
    redis.call('HDEL', holds, id)
    redis.call('ZREM', state .. ':until', id)
    decrease(state, 'held', amount)
    decrease(state, 'held_tokens', count)
  end
end

local function keep_all(state)
  redis.call('EXPIRE', state, keep)
  redis.call('EXPIRE', state .. ':holds', keep)
  redis.call('EXPIRE', state .. ':until', keep)
end

local calls = {}

-- May this request run? Rate window first, then the spend cap; places the hold if both say yes.
-- bound, cap ('' for none), soft (the bound is a guess), version, spent and tokens used by that version, now_ms, until_ms,
-- tokens (its bound), free_until (tokens used and held up to which the request costs nothing, -1 where it always does),
-- rate key, limit (0 for none), window_ms
-- Returns {'ok', spent, held, left in the window} | {'seed'} | {'rate', wait_ms} | {'cap', spent, held}
function calls.admit(state, id, bound, cap, soft, version, spent, used_tokens, now, ends_at, tokens, free_until, rate,
    limit, window)
  local holds, ends = state .. ':holds', state .. ':until'

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
      if redis.call('HGET', state, 'ready') then give_back(state, id) end
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
    if tonumber(known[2]) < tonumber(version) then
      redis.call('HSET', state, 'version', version, 'spent', spent, 'tokens', used_tokens)
    else
      spent, used_tokens = known[3], known[4]
    end
    local held_tokens
    held, held_tokens = known[5], known[6]
    if count > 0 then
      for _, over in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
        give_back(state, over)
      end
      local mine = redis.call('HGET', holds, id)
      if mine and string.sub(mine, 1, 1) == '?' then
        give_back(state, id)
        mine = nil
      end
      local sums = redis.call('HMGET', state, 'held', 'held_tokens')
      held, held_tokens = sums[1], sums[2]
      if mine then return {'ok', spent, held, limit - used} end
    end
    local room = tonumber(cap) - tonumber(spent) - tonumber(held)
    local hold = bound
    if tonumber(used_tokens) + tonumber(held_tokens) + tonumber(tokens) <= tonumber(free_until) then
      hold = '0'
    elseif tonumber(bound) > 0 and tonumber(bound) > room then
      if not (soft and room > 0) then return {'cap', spent, held} end
      hold = string.format('%.0f', room)
    end
    redis.call('HSET', holds, id, hold .. ':' .. tokens)
    redis.call('ZADD', ends, ends_at, id)
    held = tostring(redis.call('HINCRBY', state, 'held', hold))
    redis.call('HINCRBY', state, 'held_tokens', tokens)
    keep_all(state)
  end
  if limit > 0 then
    redis.call('HINCRBY', rate, string.format('%.0f', slot), 1)
    redis.call('PEXPIRE', rate, math.ceil(window * 2))
    used = used + 1
  end
  return {'ok', spent, held, limit - used}
end

-- A hold has come to its end, and the customer's spend is known anew (version '' where only the hold is given back).
function calls.settle(state, id, version, spent, tokens)
  give_back(state, id)
  if version == '' then return 1 end
  local known = redis.call('HGET', state, 'version')
  if not known or tonumber(known) < tonumber(version) then
    -- Also where nothing is known: a copy being seeded from older rows is then seen to be older, and read again.
    redis.call('HSET', state, 'version', version, 'spent', spent, 'tokens', tokens)
    redis.call('EXPIRE', state, keep)
  end
  return 1
end

-- Fill an empty copy from what PostgreSQL says; holds is a list of {id, amount, tokens, until_ms}.
-- Returns 1, or 0 where the copy already knows something newer and the rows must be read again.
function calls.seed(state, version, spent, tokens, list)
  local holds, ends = state .. ':holds', state .. ':until'
  local known = redis.call('HMGET', state, 'ready', 'version')
  if known[1] then return 1 end
  if known[2] and tonumber(known[2]) > tonumber(version) then return 0 end
  redis.call('DEL', holds, ends)
  redis.call('HSET', state, 'version', version, 'spent', spent, 'tokens', tokens, 'held', '0', 'held_tokens', '0',
    'ready', '1')
  for _, hold in ipairs(list) do
    if redis.call('HSETNX', holds, hold[1], '?' .. hold[2] .. ':' .. hold[3]) == 1 then
      redis.call('ZADD', ends, hold[4], hold[1])
      redis.call('HINCRBY', state, 'held', hold[2])
      redis.call('HINCRBY', state, 'held_tokens', hold[3])
    end
  end
  keep_all(state)
  return 1
end

-- The request of a hold is still running.
function calls.extend(state, id, ends_at)
  return redis.call('ZADD', state .. ':until', 'XX', 'GT', ends_at, id)
end

local answers = {}
for index, call in ipairs(cjson.decode(ARGV[1])) do
  local fine, answer = pcall(calls[call[1]], unpack(call, 2))
  if not fine then
    answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
  end
  answers[index] = answer
end
return answers
