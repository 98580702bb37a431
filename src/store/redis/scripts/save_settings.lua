-- KEYS[1] holds the settings: text, the version before, the channel to tell. No time to live: they are not a session.
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', (tonumber(version) or 0) + 1), 'text', ARGV[1])
redis.call('PUBLISH', ARGV[3], '')
return 1
