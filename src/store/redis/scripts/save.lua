-- Replaces a document of settings, if it is still of the version that the caller knows.
-- KEYS: the document. ARGV: version (empty: there is none), new version, text
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'text', ARGV[3])
return 1
