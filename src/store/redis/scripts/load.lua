-- A session as it is; nothing if it does not count.
local all = redis.call('HGETALL', key(ARGV[1]))
local subject, ended
for i = 1, #all, 2 do
  if all[i] == 'u' then subject = all[i + 1] elseif all[i] == 'e' then ended = true end
end
if #all > 0 and not ended and not is_named(ARGV[1], subject) then return {} end
return all
