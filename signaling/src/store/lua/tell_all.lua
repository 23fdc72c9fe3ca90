-- Every other node that lives is told something.
local prefix, node, message, stream = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4]
local nodes = prefix .. 'nodes'
local told = 0
for _, other in ipairs(redis.call('SMEMBERS', nodes)) do
  if redis.call('EXISTS', prefix .. 'node:' .. other) == 0 then
    redis.call('SREM', nodes, other)
  elseif other ~= node then
    redis.call('XADD', prefix .. 'in:' .. other, 'NOMKSTREAM', 'MAXLEN', '~', stream, '*', 'm', message)
    told = told + 1
  end
end
return told
