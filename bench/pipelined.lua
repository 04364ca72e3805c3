-- wrk script: posts one body again and again, several requests at a time before it reads their answers.
--
-- Arguments after `--`: the file of the body, the URL's path, and how many at a time.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local body = file:read("*a")
  file:close()
  local one = wrk.format("POST", args[2], {["Content-Length"] = #body}, body)
  posted = one:rep(tonumber(args[3]))
end

function request()
  return posted
end
