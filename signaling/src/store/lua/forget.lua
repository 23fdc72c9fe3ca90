-- A node begins anew: what it has told of who waits is forgotten.
local prefix, node = ARGV[1] .. ':', ARGV[2]
local all = prefix .. 'waiting:' .. node
for _, id in ipairs(redis.call('SMEMBERS', all)) do
  local key = prefix .. 's:' .. id
  local known = redis.call('HMGET', key, 'state', 'node', 'lines')
  if known[1] == 'waiting' and known[2] == node then
    for _, line in ipairs(cjson.decode(known[3])) do redis.call('ZREM', line, id) end
    redis.call('DEL', key)
  end
end
redis.call('DEL', all)
return 1
