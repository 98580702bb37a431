-- KEYS[1] is the partition: every key here begins with it, and with its hash tag. Times are in milliseconds.
--
--   :s:SID   hash: a session. t timing, s secret, p secret before and until when, u subject, f l m facts, e how it ended, d… data
--   :u:SUBJECT, :all   sorted sets: the sessions that have not ended, by creation
--   :due     sorted set: all sessions, by a time that is never later than when they are over
--
-- A session counts only while the sets name it: whoever ends all sessions of a set has then ended all that count.
local P = KEYS[1]
local ALL, DUE = P .. ':all', P .. ':due'

-- How long a key outlasts what it is for, if nobody sweeps.
local NET = 7 * 24 * 3600 * 1000

local function key(sid) return P .. ':s:' .. sid end
local function owner(subject) return P .. ':u:' .. subject end

-- Numbers are doubles: exact up to 2^53, and written without an exponent.
local function int(number) return string.format('%.0f', number) end
local function optional(number) return number and int(number) or '' end

local function parse(text)
  local f = {}
  for field in string.gmatch(text .. ',', '([^,]*),') do f[#f + 1] = field end
  return {
    mode = f[1], created = tonumber(f[2]), authenticated = tonumber(f[3]), last = tonumber(f[4]), gap = tonumber(f[5]),
    idle = tonumber(f[6]), absolute = tonumber(f[7]), bound_idle = tonumber(f[8]), bound_absolute = tonumber(f[9]),
    one_off = tonumber(f[10]), updated = tonumber(f[11]), revision = tonumber(f[12]),
  }
end

local function write(r)
  return table.concat({
    r.mode, int(r.created), optional(r.authenticated), int(r.last), int(r.gap), int(r.idle), int(r.absolute),
    int(r.bound_idle), int(r.bound_absolute), optional(r.one_off), int(r.updated), int(r.revision),
  }, ',')
end

-- The one place in this store where a deadline is computed (SPEC L2), and which of the two it is.
local function deadline(r)
  local idle, absolute = r.last + (r.one_off or r.idle), r.created + r.absolute
  if idle < absolute then return idle, 'idle' end
  return absolute, 'absolute'
end

-- A key lives at least so long from now.
local function keep(name, time)
  if redis.call('PTTL', name) < time then redis.call('PEXPIRE', name, int(time)) end
end

local function is_named(sid, subject)
  return redis.call('ZSCORE', ALL, sid) and (not subject or redis.call('ZSCORE', owner(subject), sid))
end

-- Out of the sets of those that have not ended.
local function unname(sid, subject)
  redis.call('ZREM', ALL, sid)
  if subject then redis.call('ZREM', owner(subject), sid) end
end

local function forget(sid, subject)
  redis.call('DEL', key(sid))
  redis.call('ZREM', DUE, sid)
  unname(sid, subject)
end

-- Its timing, secret, subject and end; nothing if there is none that counts.
local function find(sid)
  local h = redis.call('HMGET', key(sid), 't', 's', 'u', 'e')
  if not h[1] then return nil end
  local found = { timing = parse(h[1]), secret = h[2], subject = h[3], ended = h[4] }
  if not found.ended and not is_named(sid, found.subject) then
    forget(sid, found.subject)
    return nil
  end
  return found
end

local function reason_of(ended) return string.match(ended, '^[^,]*') end

-- As `Record::end`: done, already, in_use or unknown, and the reason.
local function finish(sid, reason, at, seen)
  local found = find(sid)
  if not found then return 'unknown', '' end
  if found.ended then return 'already', reason_of(found.ended) end
  local r = found.timing
  if seen and r.last > seen then return 'in_use', '' end
  local over, why = deadline(r)
  if at < over then over, why = at, reason end
  r.updated = math.max(r.updated, at)
  for _, field in ipairs(redis.call('HKEYS', key(sid))) do
    if field == 'p' or string.sub(field, 1, 1) == 'd' then redis.call('HDEL', key(sid), field) end
  end
  redis.call('HSET', key(sid), 't', write(r), 'e', why .. ',' .. int(over))
  redis.call('PEXPIRE', key(sid), int(NET))
  redis.call('ZADD', DUE, int(over), sid)
  keep(DUE, NET)
  unname(sid, found.subject)
  return 'done', why
end

-- What handlers keep in a session, as name, value, name, value.
local function data_of(sid)
  local data, all = {}, redis.call('HGETALL', key(sid))
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) == 'd' then
      data[#data + 1] = string.sub(all[i], 2)
      data[#data + 1] = all[i + 1]
    end
  end
  return data
end

-- Sets and removes names, as the arguments say from this one on: how many are set, names and values, names to remove.
local function edit(sid, from)
  local set = from + 2 * tonumber(ARGV[from])
  for i = from + 1, set, 2 do redis.call('HSET', key(sid), 'd' .. ARGV[i], ARGV[i + 1]) end
  for i = set + 1, #ARGV do redis.call('HDEL', key(sid), 'd' .. ARGV[i]) end
end
