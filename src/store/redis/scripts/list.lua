-- Live sessions in the order of creation and id: whether of a subject, subject, after which creation and id, live when, at most.
local set = ARGV[1] == '1' and owner(ARGV[2]) or ALL
local after, now, limit = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local page, from = {}, 0
local least = after and int(after) or '-inf'
while #page < limit do
  local sids = redis.call('ZRANGEBYSCORE', set, least, '+inf', 'WITHSCORES', 'LIMIT', from, 100)
  from = from + #sids / 2
  for i = 1, #sids, 2 do
    local sid = sids[i]
    local comes_after = not after or tonumber(sids[i + 1]) > after or sid > ARGV[4]
    if comes_after and #page < limit then
      local found = find(sid)
      if not found then
        redis.call('ZREM', set, sid)
        from = from - 1
      elseif not found.ended and now < deadline(found.timing) then
        page[#page + 1] = { sid, redis.call('HGETALL', key(sid)) }
      end
    end
  end
  if #sids < 200 then break end
end
return page
