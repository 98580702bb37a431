-- The server's clock, and what all nodes of a store share; made where it is missing.
-- KEYS: the hash of both. ARGV: version of the schema, key of the place tags
local meta = redis.call('HMGET', KEYS[1], 'schema', 'place')
if not meta[1] then redis.call('HSET', KEYS[1], 'schema', ARGV[1]) end
if not meta[2] then redis.call('HSET', KEYS[1], 'place', ARGV[2]) end
local now = redis.call('TIME')
return {now[1], now[2], meta[1] or ARGV[1], meta[2] or ARGV[2]}
