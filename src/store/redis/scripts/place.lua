-- KEYS[1] is a place: a hash with a field for each session of a tag, and the field `m` for the marks of its subjects.
-- KEYS[2..5], on a single server only: the indexes of a realm (all its sessions, those that are due), the tombstones of all
-- realms, and the names of the realms. They may be incomplete, so a failure there fails nothing.
--
-- A value begins with 5 bytes of version and 6 of creation. A tombstone is a key of its own: place and field. A place with
-- many sessions also has an order: a sorted set of creation and field. The scripts know no deadline.
local P = KEYS[1]
local ORDER = P .. 'o'
local ORDER_FROM, ORDER_BELOW = 256, 64

local function count()
  return redis.call('HLEN', P) - redis.call('HEXISTS', P, 'm')
end

local function version(value) return value and string.sub(value, 1, 5) or '' end
local function stamp(marks) return marks and string.sub(marks, 1, 3) or '' end
local function position(field, value) return string.sub(value, 6, 11) .. field end

-- A lost index entry leaks nothing: the place expires by itself. Its time to live is only extended.
local function keep(ttl)
  if redis.call('PTTL', P) < tonumber(ttl) then redis.call('PEXPIRE', P, ttl) end
end

local function build_order()
  local all = redis.call('HGETALL', P)
  for i = 1, #all, 2 do
    if all[i] ~= 'm' then redis.call('ZADD', ORDER, 0, position(all[i], all[i + 1])) end
  end
end

-- `n` sessions were there before. Each command of a script costs the server about a microsecond, so the caller says whether the
-- place is new, which then has no time to live yet.
local function insert(tag, field, value, ttl, due, realm, n, is_new)
  redis.call('HSET', P, field, value)
  if is_new then redis.call('PEXPIRE', P, ttl) else keep(ttl) end
  n = n + 1
  if n >= ORDER_BELOW then
    if redis.call('EXISTS', ORDER) == 1 then
      redis.call('ZADD', ORDER, 0, position(field, value))
    elseif n > ORDER_FROM then
      build_order()
    end
    redis.call('PEXPIRE', ORDER, redis.call('PTTL', P))
  end
  if KEYS[2] then
    redis.pcall('ZADD', KEYS[2], 0, string.sub(value, 6, 11) .. tag .. field)
    redis.pcall('ZADD', KEYS[3], due, tag .. field)
    redis.pcall('SADD', KEYS[5], realm)
  end
end

-- `old` is the live value, or false for a tombstone that changes. A full server refuses commands that need memory, but not
-- after a write of the same script that needs none: so the removal comes first, also where there is nothing to remove.
local function write_tombstone(tag, field, old, tombstone, ttl, forget_at)
  redis.call('HDEL', P, field)
  redis.call('SET', P .. field, tombstone, 'PX', ttl)
  if not old then return end
  local n = count()
  if n >= ORDER_BELOW then
    redis.call('ZREM', ORDER, position(field, old))
  elseif n == ORDER_BELOW - 1 then
    redis.call('DEL', ORDER)
  end
  if KEYS[2] then
    redis.pcall('ZREM', KEYS[2], string.sub(old, 6, 11) .. tag .. field)
    redis.pcall('ZREM', KEYS[3], tag .. field)
    redis.pcall('ZADD', KEYS[4], forget_at, tag .. field)
  end
end

-- Sessions in the order of creation, after one of them: whether there are no more, the last position, fields and values.
local function page(after, limit)
  if count() <= ORDER_FROM then return {1, '', redis.call('HGETALL', P)} end
  if redis.call('EXISTS', ORDER) == 0 then build_order() end
  local from = after == '' and '-' or '(' .. after
  local members = redis.call('ZRANGEBYLEX', ORDER, from, '+', 'LIMIT', 0, limit)
  local found = {}
  for _, member in ipairs(members) do
    local field = string.sub(member, 7)
    local value = redis.call('HGET', P, field)
    if value then
      found[#found + 1] = field
      found[#found + 1] = value
    end
  end
  return {#members < tonumber(limit) and 1 or 0, members[#members] or '', found}
end
