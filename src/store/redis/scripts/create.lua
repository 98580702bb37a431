-- As `Creation` says. sid, timing, secret, secret before and until, whether there is a subject, subject, facts, last seen,
-- metadata; replaced sid, reason, at, only if idle since, whether its data is kept; cap, whether it evicts; edits.
local sid, r = ARGV[1], parse(ARGV[2])
local subject = ARGV[5] == '1' and ARGV[6] or nil
local replaced = ARGV[10] ~= '' and ARGV[10] or nil
if redis.call('EXISTS', key(sid)) == 1 then return { 'exists' } end

local victims = {}
if subject and ARGV[15] ~= '' then
  local live = {}
  for _, other in ipairs(redis.call('ZRANGE', owner(subject), 0, -1)) do
    local found = find(other)
    if not found then
      redis.call('ZREM', owner(subject), other)
    elseif not found.ended and other ~= replaced and r.created < deadline(found.timing) then
      live[#live + 1] = { found.timing.last, found.timing.created, other }
    end
  end
  local over = #live + 1 - tonumber(ARGV[15])
  if over > 0 and ARGV[16] ~= '1' then return { 'refused' } end
  table.sort(live, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[3] < b[3]
  end)
  for i = 1, over do victims[i] = live[i][3] end
end

local outcome, reason = '', ''
local taken = {}
if replaced then
  if ARGV[14] == '1' and find(replaced) then taken = data_of(replaced) end
  outcome, reason = finish(replaced, ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13]))
end

redis.call('HSET', key(sid), 't', ARGV[2], 's', ARGV[3], 'f', ARGV[7], 'l', ARGV[8], 'm', ARGV[9])
if ARGV[4] ~= '' then redis.call('HSET', key(sid), 'p', ARGV[4]) end
if subject then redis.call('HSET', key(sid), 'u', subject) end
for i = 1, #taken, 2 do redis.call('HSET', key(sid), 'd' .. taken[i], taken[i + 1]) end
edit(sid, 17)
local time = r.absolute + NET
redis.call('PEXPIRE', key(sid), int(time))
redis.call('ZADD', DUE, int((deadline(r))), sid)
redis.call('ZADD', ALL, int(r.created), sid)
keep(DUE, time)
keep(ALL, time)
if subject then
  redis.call('ZADD', owner(subject), int(r.created), sid)
  keep(owner(subject), time)
end
local data = data_of(sid)

-- A login elsewhere has evicted this one while it was on its way.
local mark = redis.call('GET', P .. ':x:' .. sid)
if mark then finish(sid, reason_of(mark), tonumber(string.match(mark, ',(.*)'))) end

local evicted = {}
for _, victim in ipairs(victims) do
  local done, why = finish(victim, 'evicted', r.created)
  if done == 'done' and why == 'evicted' then evicted[#evicted + 1] = victim end
end
return { 'done', outcome, reason, evicted, data }
