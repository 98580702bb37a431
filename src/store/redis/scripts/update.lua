-- As `Change::apply`. sid, at, interaction, lowered idle, absolute and one-off idle, last seen, metadata, rotation from, to
-- and until, revision, edits; what there is none of is empty.
local sid, at, interaction = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = find(sid)
if not found then return { 'gone', '' } end
if found.ended then return { 'gone', reason_of(found.ended) } end
local r, secret = found.timing, found.secret
if ARGV[12] ~= '' and tonumber(ARGV[12]) ~= r.revision then return { 'conflict' } end

if ARGV[4] ~= '' then
  r.idle, r.absolute = math.min(r.idle, tonumber(ARGV[4])), math.min(r.absolute, tonumber(ARGV[5]))
  if r.one_off then r.one_off = math.min(r.one_off, tonumber(ARGV[6])) end
end
if ARGV[4] ~= '' or interaction and r.one_off then
  -- It may be over sooner now: the next sweep looks. Nothing is over before it was created.
  redis.call('ZADD', DUE, int(r.created), sid)
  keep(DUE, r.absolute + NET)
end
if interaction then
  r.gap = math.max(r.gap, interaction - r.last)
  r.last = math.max(r.last, interaction)
  r.one_off = nil
end
r.updated = math.max(r.updated, at)
if ARGV[13] ~= '0' or #ARGV > 13 then
  edit(sid, 13)
  r.revision = r.revision + 1
end
if ARGV[7] ~= '' and at >= r.last then redis.call('HSET', key(sid), 'l', ARGV[7]) end
if ARGV[8] ~= '' then redis.call('HSET', key(sid), 'm', ARGV[8]) end
if ARGV[9] ~= '' and secret == ARGV[9] and secret ~= ARGV[10] then
  redis.call('HSET', key(sid), 's', ARGV[10], 'p', ARGV[9] .. ARGV[11])
  secret = ARGV[10]
end
redis.call('HSET', key(sid), 't', write(r))
return { 'applied', write(r), secret }
