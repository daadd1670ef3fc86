-- Makes wrk send one body with a different number in each request, in place of `__rand_int__`.
local threads = 0
function setup(thread)
  thread:set('place', threads)
  threads = threads + 1
end
local body, number = nil, 0
function init(arguments)
  body = arguments[1]
end
function request()
  number = number + 1
  local text = body:gsub('__rand_int__', string.format('%03d%09d', place, number))
  return wrk.format('POST', nil, nil, text)
end
