#!/bin/bash
# PerfTest against the broker: cases.sh CASES_FILE JARS_FOLDER; needs AMQP_URL. SECONDS_EACH (10) is how long each one sends.
set -u
out=$1 jars=$2
: > "$out"

# NAME COPIES SHARE% ARGUMENTS...: every message should come COPIES times; at least SHARE% of that rate must be seen
scenario() {
    local name=$1 copies=$2 share=$3 verdict=FAIL log="$OUT/perftest-$1.log" code sent received
    shift 3
    timeout 90 java -cp "$jars/*" com.rabbitmq.perf.PerfTest -h "$AMQP_URL" -z "${SECONDS_EACH:-10}" -i 2 "$@" > "$log" 2>&1
    code=$?
    sent=$(sed -n 's/.*sending rate avg: \([0-9]*\).*/\1/p' "$log" | tail -1)
    received=$(sed -n 's/.*receiving rate avg: \([0-9]*\).*/\1/p' "$log" | tail -1)
    echo "== $name: exit $code"
    tail -4 "$log"
    if [ $code = 0 ] && [ "${sent:-0}" -gt 0 ] && [ "${received:-0}" -gt 0 ] &&
        [ $((received * 100)) -ge $((sent * copies * share)) ] && [ $((received * 100)) -le $((sent * copies * 120)) ]; then
        verdict=PASS
    fi
    echo "$verdict $name" | tee -a "$out"
}

scenario auto_ack 1 50 -x 1 -y 1 -a -s 16 -u perf-auto
scenario confirms_and_acks 1 80 -x 1 -y 1 -c 1000 -q 1000 -A 100 -s 1024 -u perf-acks
scenario persistent_with_confirms 1 80 -x 1 -y 1 -c 500 -q 500 -A 100 -f persistent -u perf-persistent
scenario fan_out_to_ten 10 50 -x 1 -y 10 -t fanout -e perf-fanout -qp 'perf-%d' -qpf 1 -qpt 10 -a -s 16
scenario hundred_queues 1 50 -x 100 -y 100 -qp 'perf-many-%d' -qpf 1 -qpt 100 -a -c 10
