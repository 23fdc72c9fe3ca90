-- A session accepts a match with one of another node. With the consent of both, both nodes are told to start.
local prefix, me, pair, stream = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4]
local offer = prefix .. 'offer:' .. pair
local known = redis.call('HMGET', offer, 'a', 'b', 'a_node', 'b_node')
if not known[1] then return 0 end
redis.call('HSET', offer, me == known[1] and 'a_accepts' or 'b_accepts', '1')
local accepted = redis.call('HMGET', offer, 'a_accepts', 'b_accepts')
if not (accepted[1] and accepted[2]) then return 1 end
redis.call('DEL', offer)
for side = 1, 2 do
  local key = prefix .. 's:' .. known[side]
  if redis.call('HGET', key, 'pair') == pair then redis.call('DEL', key) end
  redis.call('XADD', prefix .. 'in:' .. known[side + 2], 'NOMKSTREAM', 'MAXLEN', '~', stream, '*', 'm',
    cjson.encode({start = {pair = pair}}))
end
return 2
