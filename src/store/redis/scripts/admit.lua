-- For a cluster, where the sessions of a subject are spread. KEYS[1] is the queue of a subject's logins, in a slot of its own: a
-- sorted set of sid and creation, by when it queued up, on the clock of the server; no two at the same time.
-- Puts a login at its end, unless it is there, and gives all before it, with how long ago they came: sid, created at,
-- milliseconds that one stays.
local queue, me, stays = KEYS[1], ARGV[1] .. ',' .. ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', queue, '-inf', string.format('(%.0f', now - stays))
local before, last = {}, 0
local queued = redis.call('ZRANGE', queue, 0, -1, 'WITHSCORES')
for i = 1, #queued, 2 do
  if queued[i] == me then return before end
  last = tonumber(queued[i + 1])
  before[#before + 1] = queued[i] .. ',' .. string.format('%.0f', math.max(0, now - last))
end
redis.call('ZADD', queue, string.format('%.0f', math.max(now, last + 1)), me)
redis.call('PEXPIRE', queue, ARGV[3])
return before
