-- wrk script: posts one body again and again. wrk itself counts the non-2xx answers.
--
-- Arguments after `--`: the file of the body, then the request's header fields as name and value in turn.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local body = file:read("*a")
  file:close()
  local headers = {["Content-Length"] = #body}
  for i = 2, #args - 1, 2 do
    headers[args[i]] = args[i + 1]
  end
  posted = wrk.format("POST", nil, headers, body)
end

function request()
  return posted
end
