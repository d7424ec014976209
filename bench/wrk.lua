-- For wrk: ask for the targets in a file, at random, and write what came of it as JSON.

local requests = {}

function init(arguments)
    math.randomseed(tonumber(arguments[2]))
    for target in io.lines(arguments[1]) do
        requests[#requests + 1] = wrk.format("GET", target)
    end
end

function request()
    return requests[math.random(#requests)]
end

function done(summary, latency, _)
    local errors = summary.errors
    local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format(
        '{"failures": %d, "answers": %d, "seconds": %f, "p99": %f}\n',
        failures, summary.requests, summary.duration / 1e6, latency:percentile(99) / 1e3
    ))
end
