-- wrk script: rotates through the test pictures, so that nothing can cache or deduplicate.
--
-- Arguments after `--`: the folder of the pictures (0000.png, 0001.png, ...), their number, the path to post to,
-- and optionally a file with the right answers, one per line in hexadecimal. With that file every answer is
-- compared with the one that belongs to its picture; run it with as many threads as connections, because wrk
-- does not tell a script on which connection an answer came. Without it wrk itself counts the non-2xx answers,
-- and the script costs the load generator nothing per answer.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

local requests, answers, position, sent = {}, {}, 0, 0

function init(args)
  local folder, count, path = args[1], tonumber(args[2]), args[3]
  for i = 0, count - 1 do
    local body = read(string.format("%s/%04d.png", folder, i))
    requests[i] = wrk.format("POST", path, {["Content-Length"] = #body}, body)
  end
  if args[4] then
    local i = 0
    for line in io.lines(args[4]) do
      answers[i] = line:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
      i = i + 1
    end
    right, wrong, refused = 0, 0, 0
    response = compare
  end
  -- 389 is prime and far from a divisor of the number of pictures: the threads start well apart.
  position = (number * 389) % count
  total = count
end

function request()
  sent = position
  position = (position + 1) % total
  return requests[sent]
end

function compare(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
  elseif body == answers[sent] then
    right = right + 1
  else
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local sum = {right = 0, wrong = 0, refused = 0}
  local checked = false
  for _, thread in ipairs(threads) do
    for name, _ in pairs(sum) do
      local value = thread:get(name)
      if value then
        sum[name] = sum[name] + value
        checked = true
      end
    end
  end
  if checked then
    print(string.format("Checked: %d right, %d wrong, %d refused", sum.right, sum.wrong, sum.refused))
  end
end
