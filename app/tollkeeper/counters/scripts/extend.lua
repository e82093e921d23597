-- The request of a hold is still running.
-- KEYS: state, holds, until
-- ARGV: id, until_ms
return redis.call('ZADD', KEYS[3], 'XX', 'GT', ARGV[2], ARGV[1])
