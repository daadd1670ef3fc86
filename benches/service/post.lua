-- Has wrk send its one argument as a body. The request is made once: no Lua runs while it measures.
function init(arguments)
  wrk.method, wrk.body = 'POST', arguments[1]
end
