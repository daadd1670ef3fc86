-- Makes wrk send one body to numbered paths in turn. The requests are created once, before the measurement.
local requests, at = {}, 0
function init(arguments)
  local method, before, after, count, body = unpack(arguments)
  for number = 1, tonumber(count) do
    requests[number] = wrk.format(method, before .. number .. after, nil, body)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
