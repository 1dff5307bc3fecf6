#!/bin/bash
# Cases for librabbitmq's command-line tools: cases.sh CASES_FILE; needs AMQP_URL
set -u
out=$1
: > "$out"
url=(-u "$AMQP_URL")
n=0

case_() { # NAME COMMAND...: runs in a subshell, with q a queue name of its own
    local name=$1 verdict=FAIL
    shift
    n=$((n + 1))
    echo "== $name"
    (q="tools-$$-$n"; set -e; "$@") # not as a condition: set -e would be off inside
    [ $? = 0 ] && verdict=PASS
    echo "$verdict $name" | tee -a "$out"
}
eq() { [ "$1" = "$2" ] || { echo "got '$1', want '$2'" >&2; exit 1; }; }
declare_() { eq "$(timeout 10 amqp-declare-queue "${url[@]}" -q "$q" "$@")" "$q"; }
put() { timeout 10 amqp-publish "${url[@]}" "$@"; }
get() { timeout 10 amqp-get "${url[@]}" -q "$q"; }
drop() { timeout 10 amqp-delete-queue "${url[@]}" -q "$q" "$@"; }

publish_and_get() {
    declare_
    put -r "$q" -b hello
    eq "$(get)" hello
    set +e
    get
    eq "$?" 2 # empty
    set -e
    eq "$(drop)" 0
}
durable_and_persistent() {
    declare_ -d
    put -r "$q" -p -b kept
    eq "$(get)" kept
    drop
}
publish_lines() {
    declare_
    seq 1 50 | put -r "$q" -l
    eq "$(drop)" 50
}
publish_standard_input() {
    declare_
    head -c 5242880 /dev/urandom > "$OUT/big"
    put -r "$q" < "$OUT/big"
    get > "$OUT/big.back"
    cmp "$OUT/big" "$OUT/big.back"
    put -r "$q" -b ''
    eq "$(get | wc -c)" 0
    drop
}
consume_count() {
    declare_
    for i in 1 2 3 4; do put -r "$q" -b "m$i "; done
    eq "$(timeout 10 amqp-consume "${url[@]}" -q "$q" -c 3 -p 1 cat)" "m1 m2 m3 "
    eq "$(get)" "m4 "
    drop
}
consume_without_acks() {
    declare_
    put -r "$q" -b a
    put -r "$q" -b b
    eq "$(timeout 10 amqp-consume "${url[@]}" -q "$q" -c 2 -A cat)" ab
    eq "$(drop)" 0
}
failing_command_requeues() {
    declare_
    put -r "$q" -b again
    timeout 10 amqp-consume "${url[@]}" -q "$q" -c 1 false || true
    for _ in 1 2 3 4 5; do if [ "$(get)" = again ]; then drop; return; fi; sleep 0.2; done
    exit 1
}
exchange_with_an_own_queue() {
    timeout 15 amqp-consume "${url[@]}" -e amq.topic -r 'tools.#' -c 2 cat > "$OUT/topic" 2> "$OUT/topic.err" &
    local consumer=$!
    for _ in $(seq 100); do [ -s "$OUT/topic.err" ] && break; sleep 0.05; done # it tells its queue's name
    sleep 0.3
    put -e amq.topic -r other -b no
    put -e amq.topic -r tools.a -b 'yes '
    put -e amq.topic -r tools -b too
    wait "$consumer"
    eq "$(cat "$OUT/topic")" "yes too"
}
delete_if_unused_and_if_empty() {
    declare_
    put -r "$q" -b x
    if drop -e 2> "$OUT/error"; then exit 1; fi
    grep -F "406, message: PRECONDITION_FAILED - queue '$q' in vhost '/' not empty" "$OUT/error"
    eq "$(drop --if-unused)" 1
}
missing_queue() {
    if get 2> "$OUT/error"; then exit 1; fi
    cat "$OUT/error"
    grep -F "404, message: NOT_FOUND - no queue '$q' in vhost '/'" "$OUT/error"
}
wrong_password() {
    if timeout 15 amqp-declare-queue -u "${AMQP_URL/guest:guest/guest:wrong}" -q "$q" 2> "$OUT/error"; then exit 1; fi
    grep -F "logging in to AMQP server" "$OUT/error"
}

for c in publish_and_get durable_and_persistent publish_lines publish_standard_input consume_count consume_without_acks failing_command_requeues \
    exchange_with_an_own_queue delete_if_unused_and_if_empty missing_queue wrong_password; do
    case_ $c $c
done
