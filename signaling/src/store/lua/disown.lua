-- A session is over, unless another node owns it by now.
local prefix, node, me, resume = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4]
for _, key in ipairs({prefix .. 'at:' .. me, prefix .. 'resume:' .. resume}) do
  if redis.call('GET', key) == node then redis.call('DEL', key) end
end
return 1
