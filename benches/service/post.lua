-- Makes wrk send its only argument as the body. The request is created once: no Lua runs during the measurement.
function init(arguments)
  wrk.method, wrk.body = 'POST', arguments[1]
end
