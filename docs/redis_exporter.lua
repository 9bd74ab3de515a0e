-- What redis_exporter's option --script runs on the server: the lines of INFO ai that hold field=value pairs, as
-- alternating names and numbers. A name is kind|key|field, for example model|resnet|run_p99.
local result = {}
for line in redis.call('INFO', 'ai'):gmatch('[^\r\n]+') do
    local kind, name, fields = line:match('^ai_(%a+)_([^:]+):(.*=.*)$')
    if kind == 'queue' or kind == 'backend' or kind == 'model' or kind == 'script' then
        for field, value in fields:gmatch('([%w_.]+)=([^,]*)') do
            if tonumber(value) then
                result[#result + 1] = kind .. '|' .. name .. '|' .. field
                result[#result + 1] = value
            end
        end
    end
end
return result
